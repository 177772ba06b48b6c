import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketsam.data.categories import CategorySet, class_map
from pocketsam.data.datasets import open_dataset
from pocketsam.data.label_maps import LabelMaps
from pocketsam.errors import DataError
from shards import blocks, jpeg, paint

MASKS = blocks((2, 2, 20, 20), (30, 5, 60, 40))
VALUES = np.where(MASKS[0], 3, np.where(MASKS[1], 200, 0))


def write(folder: Path, values: np.ndarray | Image.Image, name: str = "a", labels: str = "labels") -> Path:
    """A photo and its map."""
    for part in ("images", labels):
        (folder / part).mkdir(exist_ok=True)
    (folder / "images" / f"{name}.jpg").write_bytes(jpeg(paint(MASKS)))
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(folder / labels / f"{name}.png")
    return folder


def palette() -> Image.Image:
    image = Image.fromarray(VALUES.astype(np.uint8), "L").convert("P")
    image.putdata(VALUES.ravel().tolist())
    image.putpalette([7, 7, 7] * 256)  # all of one colour: only the indices tell the objects apart
    return image


MAPS = {
    "8 bits": (VALUES.astype(np.uint8), [3, 200]),
    "16 bits": ((VALUES * 300).astype(np.uint16), [900, 60000]),
    "a palette": (palette(), [3, 200]),
    "1 bit": (Image.fromarray(MASKS[0]), [1]),
    "colours": (
        np.stack([VALUES, VALUES // 100, VALUES * 0], -1).astype(np.uint8),
        [3 << 16, (200 << 16) + (2 << 8)],
    ),
    "colours and transparency": (np.stack([VALUES * 0] * 2 + [VALUES] * 2, -1).astype(np.uint8), [3, 200]),
}


@pytest.mark.parametrize("kind", MAPS)
def test_every_value_is_a_mask(kind: str, tmp_path: Path) -> None:
    values, ids = MAPS[kind]
    data = LabelMaps(write(tmp_path, values))
    sample = data.read(0)
    assert (len(data), sample.name, sample.source, sample.left_out) == (1, "a", "", ())
    assert sample.ids == ids
    np.testing.assert_array_equal(sample.masks(), MASKS[: len(ids)])
    assert np.abs(sample.image.astype(int) - paint(MASKS)).max() < 25


def test_a_value_is_one_mask_though_in_pieces_and_a_map_may_be_empty(tmp_path: Path) -> None:
    write(tmp_path, MASKS.any(axis=0).astype(np.uint8), "pieces", "masks")
    write(tmp_path, np.zeros((40, 60), np.uint8), "nothing", "masks")
    (tmp_path / "images" / "unlabelled.png").write_bytes(b"no map, no sample")
    data = pickle.loads(pickle.dumps(LabelMaps(tmp_path)))
    nothing, pieces = (data.read(i) for i in range(len(data)))
    assert (nothing.name, nothing.ids) == ("nothing", [])
    np.testing.assert_array_equal(pieces.masks(), MASKS.any(axis=0)[None])


def test_a_map_of_nothing_but_values_is_read(tmp_path: Path) -> None:
    values = np.arange(1, 2401, dtype=np.uint16).reshape(40, 60)
    sample = LabelMaps(write(tmp_path, values)).read(0)
    assert sample.ids == values.ravel().tolist()
    assert all(sample.mask(i).ravel()[i] for i in (0, 1, 59, 60, 2399))
    assert {int(sample.mask(i).sum()) for i in (0, 1, 59, 60, 2399)} == {1}


def test_a_map_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    data = LabelMaps(write(tmp_path, VALUES[:, :50].astype(np.uint8)))
    with pytest.raises(
        DataError, match=r"labels/a\.png: is 50 × 40 pixels, but its photo .*a\.jpg is 60 × 40"
    ):
        data.read(0)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, VALUES.astype(np.uint8), "a")
    write(tmp_path, VALUES.astype(np.uint8), "b")
    write(tmp_path, VALUES.astype(np.uint8), "c")
    write(tmp_path, Image.fromarray(VALUES.astype(np.uint8)).convert("LA"), "d")
    (tmp_path / "images" / "a.jpg").unlink()
    (tmp_path / "images" / "b.jpg").write_bytes(b"text")
    (tmp_path / "labels" / "c.png").write_bytes(b"text")
    data = LabelMaps(tmp_path)
    messages = (
        "a.png: its photo .*missing",
        "b.jpg: cannot",
        "c.png: the label map cannot",
        "d.png: a label",
    )
    for i, message in enumerate(messages):
        with pytest.raises(DataError, match=message) as error:
            data.read(i)
        assert "\n" not in str(error.value)


def test_a_folder_without_maps_or_with_two_photos_for_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label map"):
        LabelMaps(tmp_path)
    write(tmp_path, VALUES.astype(np.uint8))
    (tmp_path / "images" / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png: a\.jpg has the same name"):
        LabelMaps(tmp_path)


def test_ade20k_has_its_photos_and_maps_in_two_trees(tmp_path: Path) -> None:
    for tree, ending, value in (("images", "jpg", 90), ("annotations", "png", 2)):
        folder = tmp_path / tree / "training"
        folder.mkdir(parents=True)
        Image.fromarray(np.full((6, 8), value, np.uint8)).save(folder / f"a.{ending}")
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t.1\t9\t9\t1\twall\n2\t.1\t9\t9\t1\tbuilding, edifice\n"
    )
    data = open_dataset([tmp_path / "annotations" / "training"])
    assert isinstance(data, LabelMaps)
    assert data.categories == [{"id": 1, "name": "wall"}, {"id": 2, "name": "building"}]
    sample = data.read(0)
    assert (sample.ids, sample.categories, sample.masks().all()) == ([2], [2], True)
    assert sample.image.shape == (6, 8, 3)


def test_values_are_named_by_a_list(tmp_path: Path) -> None:
    for name, value in (("images", 90), ("labels", 3)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((6, 8), value, np.uint8)).save(tmp_path / name / "a.png")
    with pytest.raises(DataError, match=r"has no classes.txt, whose line i names the value i"):
        CategorySet([tmp_path])
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError, match=r"a.png: the value 3 has no name"):
        CategorySet([tmp_path], background=True).read(0)
    (tmp_path / "classes.txt").write_text("sky\nroad\ntree\n")
    data = CategorySet([tmp_path], background=True)
    assert data.classes == ("background", "sky", "road", "tree")
    assert (class_map(data.read(0), 0) == 3).all()


def test_a_value_without_a_name_does_not_shift_the_others(tmp_path: Path) -> None:
    for name, value in (("images", 90), ("labels", 3)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((6, 8), value, np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "classes.txt").write_text("road\n\ncar\nsky\n")
    data = LabelMaps(tmp_path)
    assert data.categories == [{"id": 1, "name": "road"}, {"id": 3, "name": "car"}, {"id": 4, "name": "sky"}]
    categories = CategorySet([tmp_path])
    assert categories.classes[class_map(categories.read(0), 99)[0, 0]] == "car"
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"classes.txt: cannot be read as UTF-8"):
        CategorySet([tmp_path])
