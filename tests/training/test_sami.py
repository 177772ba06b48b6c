"""Masked pretraining, from photos and stored embeddings to an encoder that other methods start from."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from pocketsam import Segmenter
from pocketsam.compat import SamPredictor, build_sam
from pocketsam.config import EFFICIENT_SAM, ModelConfig
from pocketsam.embeddings.job import embed
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import DataError, ModelError
from pocketsam.export.conversion import Conversion, Form
from pocketsam.export.convert import convert
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import load_model, save_model
from pocketsam.models.encoders.vit import ViT
from pocketsam.models.masked import AllTokenDecoder, CrossAttentionDecoder, MaskedModel
from pocketsam.training.config import Recipe
from pocketsam.training.loop import train
from pocketsam.training.recipe import parse_recipe
from pocketsam.training.samples.stream import batches
from pocketsam.training.state import TrainingState
from runs import assert_near, kind_of, refusal, state_after, state_after_torchrun
from shards import annotation_file, blocks, jpeg, write_shard, write_tar

MASKS = blocks((2, 2, 28, 28), (32, 5, 56, 36))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    files = []
    for name in "abcdef":
        photo = jpeg(rng.integers(0, 255, (40, 60, 3), np.uint8))
        files += [(f"{name}.jpg", photo), (f"{name}.json", annotation_file(name, MASKS, ""))]
    return write_tar(tmp_path / "photos.tar", files)


@pytest.fixture
def store(shard: Path) -> Path:
    """The embeddings of a teacher of random weights, of 8 × 8 cells."""
    torch.manual_seed(1)
    path = shard.with_name("teacher") / "model.safetensors"
    save_model(path, build("patches", 128).state_dict(), ModelConfig("teacher", 128, "squash"))
    embed(TorchEngine(*load_model(path)), shard, shard.with_name("store"))
    return shard.with_name("store")


def recipe(shard: Path, out: str = "run", method: str = "sami", **changes: object) -> Recipe:
    values: dict[str, object] = {
        "method": method,
        "model": "vit_tiny",
        "image_size": 64,
        "out": str(shard.with_name(out)),
        "train": [str(shard)],
        "decoder_blocks": 1,
        "decoder_width": 32,
        "steps": 4,
        "batch": 2,
        "warmup": 0,
        "workers": 0,
        "precision": "32-true",
        "checkpoint_every": 100,
    }
    values |= {"embeddings": str(shard.with_name("store"))} if method == "sami" else {}
    return parse_recipe(values | changes)


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision="32-true")


@pytest.mark.parametrize(
    ("method", "changes", "decoder", "channels"),
    [
        ("sami", {}, CrossAttentionDecoder, 256),
        ("sami", {"decoder": "all tokens", "loss": "cosine"}, AllTokenDecoder, 256),
        ("mae", {}, AllTokenDecoder, 768),
        ("mae", {"decoder": "cross-attention"}, CrossAttentionDecoder, 768),
    ],
)
def test_a_run_learns(
    method: str, changes: dict[str, object], decoder: type, channels: int, shard: Path, store: Path
) -> None:
    run = TrainingState(recipe(shard, method=method, learning_rate=1e-3, **changes), fabric())
    model = run.model
    assert isinstance(model, MaskedModel) and type(model.decoder) is decoder
    assert model.head.out_features == channels
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = next(iter(batches(run.task.samples, run.recipe, 0)))
    losses = [float(run.train_step([batch])["loss"]) for _ in range(12)]
    assert losses[-1] < 0.97 * losses[0]
    unchanged = {name for name, value in model.state_dict().items() if torch.equal(before[name], value)}
    assert {name.split(".")[1] for name in unchanged} <= {"neck"}, "the neck takes no part"


def test_stopped_and_resumed_is_bitwise_the_same(shard: Path, store: Path) -> None:
    train(recipe(shard, "whole", workers=1))
    train(recipe(shard, "stopped", workers=1, stop=2))
    train(recipe(shard, "stopped", workers=1))
    for name in ("model.safetensors", "state.safetensors"):
        whole, resumed = (load_file(shard.with_name(out) / name) for out in ("whole", "stopped"))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_two_processes_make_the_step_of_one(shard: Path, store: Path) -> None:
    whole, shared = (recipe(shard, f"on-{n}", batch=4, steps=1, devices=n) for n in (1, 2))
    one, two = kind_of(state_after(whole), "exp_avg"), kind_of(state_after_torchrun(shared, 2), "exp_avg")
    assert one
    assert_near(one, two)


def test_a_batch_in_parts_is_the_same_step(shard: Path, store: Path) -> None:
    moments = []
    for parts in (1, 2):
        train(recipe(shard, f"in-{parts}", batch=4, accumulate=parts, steps=1))
        moments.append(kind_of(load_file(shard.with_name(f"in-{parts}") / "state.safetensors"), "exp_avg"))
    assert_near(*moments)


def test_the_encoder_segments_anything_in_efficient_sams_layout(shard: Path, store: Path) -> None:
    """Pretrained, then trained with prompt encoder and mask decoder, then read by whoever reads EfficientSAM."""
    encoder = train(recipe(shard, "pretrained"))
    weights = load_file(encoder)
    assert weights and all(name.startswith("image_encoder.") for name in weights)
    with pytest.raises(ModelError, match=r"model\.safetensors: holds an image encoder alone"):
        load_model(encoder)
    asked = parse_recipe(
        {
            "model": "efficient_sam_ti",
            "image_size": 64,
            "out": str(shard.with_name("finetuned")),
            "init": str(encoder),
            "train": [str(shard)],
            "objects": 2,
            "steps": 1,
            "batch": 2,
            "warmup": 0,
            "workers": 0,
            "schedule": "linear",
            "precision": "32-true",
        }
    )
    start = TrainingState(asked, fabric()).model.state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in weights.items())

    finetuned = train(asked)
    sam, config = load_model(finetuned)
    assert (config.architecture, config.prompt_masks) == ("efficient_sam_ti", EFFICIENT_SAM.prompt_masks)
    wanted = Conversion(str(finetuned), shard.with_name("published"), [Form.pt])
    (published,) = convert(wanted, Path(finetuned)).files
    content = torch.load(published, weights_only=True)
    expected = json.loads((Path(__file__).parents[1] / "parity" / "efficient_sam_ti.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in content["model"].items()} == {
        name: shape for name, (shape, _) in expected.items()
    }

    again, found = load_model(published, config)
    assert found == config
    photo = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    theirs, ours = (
        Segmenter(engine=TorchEngine(*model)).open(photo).segment(points=[(20, 20)]).logits
        for model in ((again, found), (sam, config))
    )
    np.testing.assert_array_equal(theirs, ours)

    predictor = SamPredictor(build_sam(finetuned))
    predictor.set_image(photo)
    masks, _, _ = predictor.predict(np.array([[20, 20]]), np.array([1]))
    assert masks.shape == (3, 48, 64)


def test_every_prompt_of_efficient_sam_teaches_one_of_three_masks(shard: Path) -> None:
    """Its users are given masks 1 to 3 for boxes, too."""
    values = {"image_size": 64, "out": "x", "train": [str(shard)], "steps": 1, "batch": 1, "clicks": [1]}
    taught = {}
    for model in ("efficient_sam_ti", "vit_tiny"):
        asked = parse_recipe({**values, "model": model, "objects": 1, "workers": 0, "precision": "32-true"})
        run = TrainingState(asked, fabric())
        batch, found = next(iter(batches(run.task.samples, asked, 0))), set()
        for seed in range(6):
            batch["seed"] = torch.tensor([seed])
            run.task.loss.zero_grad()
            run.task.loss(batch, 0)["loss"].backward()
            heads = run.model.mask_decoder.output_hypernetworks_mlps
            moved = [float(head.layers[0].weight.grad.abs().sum()) > 0 for head in heads]
            found.add((moved[0], sum(moved[1:])))
        taught[model] = found
    assert taught["efficient_sam_ti"] == {(True, 1)}
    assert taught["vit_tiny"] == {(True, 1), (True, 0)}


def test_an_encoder_of_another_architecture_is_refused(shard: Path) -> None:
    encoder = shard.with_name("model.safetensors")
    weights = {f"image_encoder.{name}": tensor for name, tensor in ViT(depth=1).state_dict().items()}
    save_model(encoder, weights, ModelConfig("encoder"))
    values = {"image_size": 64, "out": "x", "train": [str(shard)], "steps": 1, "batch": 1}
    asked = parse_recipe({**values, "model": "vit_small", "init": str(encoder)})
    with pytest.raises(ModelError, match=r"model\.safetensors: is of another encoder"):
        TrainingState(asked, fabric())


def test_photos_without_masks_are_enough(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a": MASKS[:0], "b": MASKS[:0]})
    assert train(recipe(shard, method="mae", steps=1)).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": None}, "embeddings: sami training needs it"),
        ({"method": "mae"}, r"mae training has no embeddings \(.*sami.*\)"),
        (
            {"model": "tiny_vit_5m"},
            "model: tiny_vit_5m cannot leave patches out; choose a plain ViT: .*vit_tiny",
        ),
        ({"mask_ratio": 0.99}, "mask_ratio: 0.99 of 16 patches leaves 0 visible"),
        ({"mask_ratio": 1}, "mask_ratio: "),
        ({"decoder_width": 40}, "decoder_width: "),
        ({"decoder": "linear"}, "decoder: "),
        ({"image_size": 60}, "image_size: "),
        ({"train": "drawn shapes"}, "pretraining needs photos"),
        ({"val": ["a.tar"]}, "sami training has no val; leave it out"),
        ({"augmentation": {"colour": 0}}, "sami training has no augmentation; leave it out"),
        ({"objects": 3}, "sami training has no objects"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    sense = {"model": "vit_tiny", "method": "sami", "embeddings": "e"}
    assert re.search(message, refusal(tmp_path, sense | changes))


def test_a_store_that_is_damaged_later_stops_the_run_by_name(shard: Path, store: Path) -> None:
    tar = store / "photos.tar"
    content = bytearray(tar.read_bytes())
    content[2000::4000] = bytes(255 - b for b in content[2000::4000])
    tar.write_bytes(content)
    with pytest.raises(DataError, match=r"photos\.tar: the embedding of . is damaged"):
        train(recipe(shard))
