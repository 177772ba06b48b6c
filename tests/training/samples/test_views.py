"""Crops of photos, and the same crops of their embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Shards
from pocketsam.embeddings.job import find_shards
from pocketsam.embeddings.signature import Signature
from pocketsam.embeddings.writer import ShardWriter, create_store
from pocketsam.errors import DataError, InputError
from pocketsam.training.samples.augment import random_window
from pocketsam.training.samples.views import Views, resampling
from shards import blocks, jpeg, paint, write_shard

MASKS = blocks((2, 2, 28, 28), (32, 5, 56, 36))


@settings(max_examples=50, deadline=None)
@given(cells=st.integers(1, 20), count=st.integers(1, 20))
def test_a_whole_axis_is_resampled_as_pytorch_does(cells: int, count: int) -> None:
    row = torch.arange(cells).double().square().view(1, 1, 1, -1)
    expected = F.interpolate(row, (1, count), mode="bilinear", antialias=True, align_corners=False)
    found = resampling(0, 1, cells, count) @ row[0, 0, 0].numpy()
    np.testing.assert_allclose(found, expected[0, 0, 0].numpy(), rtol=1e-5, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    start=st.floats(0, 0.8), length=st.floats(0.2, 1), filled=st.floats(1, 64), count=st.sampled_from([4, 14])
)
def test_a_window_keeps_a_slope(start: float, length: float, filled: float, count: int) -> None:
    """Where the window's cells are not near the border, which has nothing beyond it."""
    length = min(length, 1 - start)
    weights = resampling(start, length, filled, count)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    step = length * filled / count
    centres = start * filled + (np.arange(count) + 0.5) * step - 0.5
    reach = max(step, 1)
    inner = (centres > reach) & (centres < np.ceil(filled) - 1 - reach)
    found = weights @ np.arange(weights.shape[1])
    np.testing.assert_allclose(found[inner], centres[inner], atol=0.15 * reach)


@settings(max_examples=100, deadline=None)
@given(
    height=st.integers(1, 500), width=st.integers(1, 500), area=st.floats(0.05, 1), seed=st.integers(0, 999)
)
def test_windows_lie_in_the_photo(height: int, width: int, area: float, seed: int) -> None:
    x0, y0, x1, y1 = random_window(height, width, area, np.random.default_rng(seed))
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    if (x1 - x0, y1 - y0) != (width, height) and min(height, width) > 100:
        assert (x1 - x0) * (y1 - y0) >= area * height * width * 0.95
        assert 0.7 < (x1 - x0) / (y1 - y0) < 1.4


def store_of_places(shard: Path, resize: str, side: int = 16) -> Path:
    """A store whose embeddings say where each cell lies in the photo: x and y from 0 to 1."""
    config = ModelConfig("places", 16 * side, resize, embedding_channels=2)  # type: ignore[arg-type]
    signature, store = Signature.of(config, 16), shard.with_name(f"store-{resize}")
    create_store(store, signature)
    (found,) = find_shards(shard)
    with ShardWriter(store, found.name, signature, found.photos) as writer:
        for name, size in found.photos:
            y, x = (np.mgrid[:side, :side] + 0.5) / side
            filled = 1 if resize == "squash" else 40 / 60  # the photos are 60 × 40
            writer.add(name, size, np.stack([x, y / filled]))
        writer.finish()
    return store


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_a_crop_has_the_embedding_of_its_place(resize: str, tmp_path: Path) -> None:
    """The photo is a slope of x and y, as its embedding is."""
    y, x = np.mgrid[:40, :60].astype(np.float64)
    photo = np.stack([255 * (x + 0.5) / 60, 255 * (y + 0.5) / 40, 0 * x], -1).astype(np.uint8)
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "slope.jpg").write_bytes(jpeg(photo))
    store = store_of_places(folder, resize)
    views = Views([str(folder)], 0, 64, 0.3, 0.5, str(store))
    assert views.channels == 2
    mirrored = 0
    for number in range(20):
        item = views[number]
        cells = F.avg_pool2d(item["image"].float()[None, :2] / 255, 16)[0]
        torch.testing.assert_close(item["target"].float(), cells, atol=0.05, rtol=0)
        mirrored += int(cells[0, 0, 0] > cells[0, 0, -1])
        assert sorted(item["order"].tolist()) == list(range(16))
    assert 3 < mirrored < 17


def test_a_sample_depends_on_its_number_alone(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {name: MASKS for name in "abc"})
    first, second = (Views([str(shard)], 1, 64, 0.2, 0.5) for _ in range(2))
    for number in (5, 0, 3):
        assert all(np.array_equal(first[number][key], second[number][key]) for key in ("image", "order"))
    assert not torch.equal(first[0]["order"], Views([str(shard)], 2, 64, 0.2, 0.5)[0]["order"])


def class_folders(folder: Path) -> Path:
    """ImageNet's layout."""
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for name in "ab":
            (folder / label / f"{name}.JPEG").write_bytes(jpeg(paint(MASKS)))
    return folder


def test_class_folders_are_photos(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "train")
    assert Views([str(folder)], 0, 64, 0.2, 0.5).photos == 4
    assert [shard.name for shard in find_shards(folder)] == ["cat", "dog"]
    (folder / "cow").mkdir()
    with pytest.raises(DataError, match=r"cow: no photo, unlike the folders beside it"):
        Shards(folder, labelled=False)


def test_photos_without_an_embedding_are_named(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a": MASKS})
    store = store_of_places(shard, "squash")
    more = write_shard(tmp_path / "more.tar", {"x": MASKS})
    with pytest.raises(DataError, match=r"more\.tar: x: has no embedding in"):
        Views([str(shard), str(more)], 0, 64, 0.2, 0.5, str(store))


def test_a_broken_photo_is_named(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "train")
    (folder / "cat" / "a.JPEG").write_bytes(b"no photo")
    views = Views([str(folder)], 0, 64, 0.2, 0.5)
    errors = [item for item in (views[number] for number in range(4)) if isinstance(item, DataError)]
    assert [str(error) for error in errors] == [
        f"{folder}/cat/a.JPEG: its photo cannot be decoded; it is damaged or no image"
    ]


def test_embeddings_go_with_shards_alone(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
        (folder / part / "a.png").write_bytes(jpeg(paint(MASKS)))
    create_store(tmp_path / "store", Signature.of(ModelConfig("t", 64), 16))
    with pytest.raises(InputError, match="embeddings are those of shards or folders of photos"):
        Views([str(folder)], 0, 64, 0.2, 0.5, str(tmp_path / "store"))
