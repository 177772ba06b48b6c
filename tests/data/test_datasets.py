import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketsam.data.coco import CocoSet, write_coco
from pocketsam.data.datasets import open_dataset
from pocketsam.data.label_maps import LabelMaps
from pocketsam.data.sa1b import Shards
from pocketsam.data.science_bowl import ScienceBowl
from pocketsam.errors import InputError
from shards import blocks, jpeg, paint, write_shard

MASKS = blocks((2, 2, 20, 20), (30, 5, 50, 30))


@pytest.fixture
def every(tmp_path: Path) -> dict[type, Path]:
    """The same photo with the same masks in every layout."""
    shard = write_shard(tmp_path / "s.tar", {"x": MASKS})
    maps, bowl = tmp_path / "maps", tmp_path / "bowl"
    for folder in (maps / "images", maps / "labels", bowl / "x" / "images", bowl / "x" / "masks"):
        folder.mkdir(parents=True)
    (maps / "images" / "x.jpg").write_bytes(jpeg(paint(MASKS)))
    Image.fromarray((MASKS[0] + 2 * MASKS[1]).astype(np.uint8)).save(maps / "labels" / "x.png")
    Image.fromarray(paint(MASKS)).save(bowl / "x" / "images" / "x.png")
    for number, mask in enumerate(MASKS):
        Image.fromarray(mask).save(bowl / "x" / "masks" / f"{number}.png")
    return {
        Shards: shard,
        CocoSet: write_coco(Shards(shard), tmp_path / "coco"),
        LabelMaps: maps,
        ScienceBowl: bowl,
    }


@pytest.mark.parametrize("kind", [Shards, CocoSet, LabelMaps, ScienceBowl])
def test_each_layout_is_known_and_gives_the_same(kind: type, every: dict[type, Path]) -> None:
    data = open_dataset([every[kind]])
    assert isinstance(data, kind)
    (sample,) = (data.read(i) for i in range(len(data)))
    assert sample.name == "x"
    np.testing.assert_array_equal(sample.masks(), MASKS)
    assert np.abs(sample.image.astype(int) - paint(MASKS)).max() < 25


def test_label_maps_may_lie_in_masks(every: dict[type, Path]) -> None:
    (every[LabelMaps] / "labels").rename(every[LabelMaps] / "masks")
    assert isinstance(open_dataset([str(every[LabelMaps])]), LabelMaps)


def test_shards_and_folders_go_together_with_or_without_masks(
    tmp_path: Path, every: dict[type, Path]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "y.jpg").write_bytes(jpeg(paint(MASKS)))
    assert len(open_dataset([every[Shards], folder])) == 1
    both = open_dataset([every[Shards], folder], labelled=False)
    assert [both.read(i).name for i in range(len(both))] == ["x", "y"]


def test_a_json_may_have_its_photos_elsewhere(tmp_path: Path, every: dict[type, Path]) -> None:
    (every[CocoSet].parent / "images").rename(tmp_path / "elsewhere")
    assert open_dataset([every[CocoSet]], tmp_path / "elsewhere").read(0).name == "x"


def test_what_does_not_go_together_is_refused_in_one_line(tmp_path: Path, every: dict[type, Path]) -> None:
    for kind in (CocoSet, LabelMaps, ScienceBowl):
        with pytest.raises(InputError, match=f"{every[kind].name}: only tar shards"):
            open_dataset([every[Shards], every[kind]])
    for kind in (Shards, LabelMaps, ScienceBowl):
        with pytest.raises(InputError, match="goes with one COCO JSON"):
            open_dataset([every[kind]], photos=tmp_path)
    with pytest.raises(InputError, match="goes with one COCO JSON"):
        open_dataset([every[CocoSet], every[CocoSet]], photos=tmp_path)
    with pytest.raises(InputError, match="no such file"):
        open_dataset([tmp_path / "none"])
    with pytest.raises(InputError, match="no data"):
        open_dataset([])
    (tmp_path / "one.json").write_text(json.dumps({"image": {}, "annotations": []}))
    with pytest.raises(InputError, match="no list `images` and no list `categories`"):
        open_dataset([tmp_path / "one.json"])
