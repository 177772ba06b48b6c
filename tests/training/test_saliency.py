"""A saliency head: what is learned from stored embeddings, and the file that it becomes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pocketsam.apps.saliency import open_encoder
from pocketsam.apps.saliency_head import SaliencyHead as Finder
from pocketsam.data.sa1b import Shards
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.errors import DataError, InputError, ModelError
from pocketsam.evaluation.metrics import iou
from pocketsam.export.onnx import export_onnx
from pocketsam.export.saliency import export_saliency
from pocketsam.models.architectures import ARCHITECTURES, build
from pocketsam.models.saliency import FINER, SaliencyHead
from pocketsam.training.config import Recipe
from pocketsam.training.loop import train
from pocketsam.training.losses.saliency import Saliency
from pocketsam.training.samples.stored_features import StoredFeatures
from shards import annotation_file, blocks, jpeg, write_shard, write_tar
from transfer import COLOURS, recipe

SIZE = (64, 64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    export_onnx(build("patches", 64), replace(ARCHITECTURES["patches"].config, image_size=64), folder)
    return folder


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red squares on blue, and a photo from another source."""
    files = []
    for i, place in enumerate([(0, 0, 32, 32), (32, 32, 64, 64), (32, 0, 64, 32), (0, 32, 32, 64)]):
        masks = blocks(place, size=SIZE)
        image = np.where(masks[0][..., None], COLOURS["red"], COLOURS["blue"]).astype(np.uint8)
        files += [(f"p{i}.jpg", jpeg(image)), (f"p{i}.json", annotation_file(f"p{i}", masks, "salient"))]
    folder = tmp_path_factory.mktemp("shards")
    write_tar(folder / "a.tar", files)
    write_shard(folder / "b.tar", {"other": blocks((0, 0, 8, 8), size=SIZE)}, "other")
    return folder


def saliency(folder: Path, model: Path, shard: Path, **changes: object) -> Recipe:
    return recipe(
        folder,
        "saliency",
        **{
            "image_size": None,
            "augmentation": None,
            "encoder": str(model),
            "train": [str(shard)],
            "sources": ["salient"],
            "width": 12,
        }
        | changes,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model: Path, shard: Path) -> Path:
    """The file of a head that has learned the squares."""
    folder = tmp_path_factory.mktemp("run")
    return train(saliency(folder, model, shard, steps=60, learning_rate=1e-2, ema=0.8), quiet=True)


@pytest.fixture
def with_head(model: Path, trained: Path) -> Iterator[Path]:
    """The model's folder, with the head in it."""
    path = export_saliency(trained, model)
    assert path == model / "saliency.onnx"
    yield model
    path.unlink(missing_ok=True)


def test_squares_are_learned_and_found_by_the_exported_file(with_head: Path, shard: Path) -> None:
    segmenter, head = open_encoder(with_head), Finder(with_head)
    for sample in map(Shards(shard / "a.tar").read, range(4)):
        photo = segmenter.open(sample.image)
        assert iou(photo.geometry.logits_to_photo(head(photo)) > 0, sample.mask(0)) > 0.6


def test_the_exported_file_computes_what_the_head_does(with_head: Path, trained: Path) -> None:
    photo = open_encoder(with_head).open(np.full((64, 64, 3), 90, np.uint8))
    head = SaliencyHead(256, 12)
    head.load_state_dict(load_file(trained))
    with torch.no_grad():
        expected = head(torch.from_numpy(photo.embedding))[0, 0].numpy()
    assert np.allclose(Finder(with_head)(photo), expected, atol=0.05)  # weights are in half precision


def test_a_head_of_other_weights_is_refused(tmp_path: Path, with_head: Path) -> None:
    torch.manual_seed(1)
    export_onnx(build("patches", 64), OnnxEngine(with_head, 1, ["encoder"]).config, tmp_path)
    (with_head / "saliency.onnx").rename(tmp_path / "saliency.onnx")
    photo = open_encoder(tmp_path).open(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ModelError, match="was trained on other weights"):
        Finder(tmp_path)(photo)


def test_a_model_without_a_head_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no saliency head, which would be the file saliency.onnx"):
        Finder(model)
    weights = tmp_path / "x.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        export_saliency(weights, tmp_path)


def test_embeddings_are_stored_once_and_an_interrupted_run_goes_on(
    tmp_path: Path, model: Path, shard: Path
) -> None:
    engine = OnnxEngine(model, 1, ["encoder"])
    first = StoredFeatures([str(shard)], ["salient"], 0, tmp_path, engine)
    assert first.photos == 4
    encoded: list[np.ndarray] = []

    class Counting:
        config = engine.config

        def encode(self, image: np.ndarray) -> np.ndarray:
            encoded.append(image)
            return engine.encode(image)

    again = StoredFeatures([str(shard)], ["salient"], 0, tmp_path, Counting())
    assert not encoded
    assert np.array_equal(again.embeddings, first.embeddings)
    again.masks[2] = 0  # as after an interruption
    kept = np.array(again.embeddings[2])
    again.embeddings[2] = 0
    StoredFeatures([str(shard)], ["salient"], 0, tmp_path, Counting())
    assert len(encoded) == 2
    assert np.array_equal(again.embeddings[2], kept)


def test_mirrored_embeddings_come_with_mirrored_masks(tmp_path: Path, model: Path, shard: Path) -> None:
    engine = OnnxEngine(model, 1, ["encoder"])
    samples = StoredFeatures([str(shard)], ["salient"], 0, tmp_path, engine)
    seen = set()
    for number in range(24):
        item = samples[number]
        photo = int(item["name"].split()[1])
        mirrored = not np.array_equal(item["mask"], samples.masks[photo, 0])
        for name, stored in (("embedding", samples.embeddings), ("mask", samples.masks)):
            assert np.array_equal(item[name], stored[photo, int(mirrored)])
        seen.add((photo, mirrored))
    assert len(seen) == 8


def test_only_the_named_sources_are_used(tmp_path: Path, model: Path, shard: Path) -> None:
    engine = OnnxEngine(model, 1, ["encoder"])
    assert StoredFeatures([str(shard)], [], 0, tmp_path, engine).photos == 5
    assert StoredFeatures([str(shard)], ["other"], 0, tmp_path, engine).photos == 1
    with pytest.raises(DataError, match="no photo comes from nowhere"):
        StoredFeatures([str(shard)], ["nowhere"], 0, tmp_path, engine)
    document = tmp_path / "instances.json"
    document.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(InputError, match="sources"):
        StoredFeatures([str(document)], ["salient"], 0, tmp_path, engine)


@pytest.mark.parametrize("channels", [256, FINER])
def test_the_head_gives_logits_at_stride_4_with_or_without_finer_maps(channels: int) -> None:
    head = SaliencyHead(channels, 12)
    embedding = torch.randn(2, channels, 8, 8)
    assert head(embedding).shape == (2, 1, 32, 32)
    mask = torch.zeros(2, 32, 32, dtype=torch.uint8)
    losses = Saliency(head)({"embedding": embedding.half(), "mask": mask, "seed": torch.tensor([3, 4])}, 0)
    assert losses["loss"].isfinite()


def test_a_window_of_the_maps_gives_that_window_of_the_outlines() -> None:
    torch.manual_seed(0)
    head = SaliencyHead(FINER, 12)
    embedding = torch.randn(1, FINER, 12, 12)
    context = head.context(embedding)
    whole = head.outlines(context, embedding)
    part = head.outlines(context[:, :, 2:10, 3:9], embedding[:, :, 2:10, 3:9])
    # The outermost cells see less of what is around them.
    assert torch.allclose(part[:, :, 8:-8, 8:-8], whole[:, :, 16:32, 20:28], atol=1e-5)


def test_masks_of_mirrored_photos_are_where_padding_leaves_them(tmp_path: Path) -> None:
    config = replace(ARCHITECTURES["patches"].config, image_size=64, resize="pad")
    export_onnx(build("patches", 64), config, tmp_path / "padding")
    masks = blocks(
        (0, 0, 16, 64), size=(64, 32)
    )  # the left half of a photo that is as wide as half the input
    shard = write_shard(tmp_path / "s.tar", {"portrait": masks})
    samples = StoredFeatures([str(shard)], [], 0, tmp_path, OnnxEngine(tmp_path / "padding", 1, ["encoder"]))
    for mirrored, columns in enumerate(([255] * 4 + [0] * 12, [0] * 4 + [255] * 4 + [0] * 8)):
        assert samples.masks[0, mirrored].tolist() == [columns] * 16
