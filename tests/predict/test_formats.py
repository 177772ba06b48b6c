"""The table of file formats, and each format read back."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pocketsam.errors import InputError
from pocketsam.predict import formats
from pocketsam.predict.formats import FORMATS, Format, format_of
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.utils.rle import encode

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def masks() -> Masks:
    """Of a photo of 64 × 48 pixels: a ring, called shoe, and nothing at all."""
    binary = np.zeros((2, HEIGHT, WIDTH), bool)
    binary[0, 6:30, 4:40] = True
    binary[0, 12:20, 10:22] = False
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return Masks(
        np.zeros((2, 16, 16), np.float32),
        np.array([0.9, 0.5], np.float32),
        Geometry(HEIGHT, WIDTH, 64),
        image,
        "a.jpg",
        names=["shoe", "cap"],
        rle=[encode(mask) for mask in binary],
    )


def test_the_longest_suffix_decides_in_any_case():
    assert [
        format_of(name)[0].name for name in ("x.labels.png", "x.Png", "labels.png", "x.LabelMe.JSON")
    ] == [
        "labels",
        "overlay",
        "overlay",
        "labelme",
    ]
    assert format_of("my.photo.json")[0].name == format_of("x.coco.json")[0].name == "coco"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.bmp", "the suffix says what to write"),
        ("x", "the suffix says what to write"),
        ("x.cutout.jpg", ".cutout.jpg is not a format"),
        ("x.labelme.png", ".labelme.png is not a format"),
        ("x.overlay.json", ".overlay.json is not a format"),
        ("x.yolo.json", ".yolo.json is not a format"),
    ],
)
def test_a_suffix_that_is_no_format_is_refused_with_the_list(masks, tmp_path, name, message):
    with pytest.raises(InputError, match=message) as error:
        masks.save(tmp_path / name)
    listed = str(error.value).rpartition("use one of ")[2].split()
    assert listed == [suffix for format in FORMATS for suffix in format.suffixes]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 5, b"a.json"])
def test_what_is_not_a_path_is_refused(masks, path):
    with pytest.raises(InputError, match=r"is not a path; give the name of a file, such as masks\.json$"):
        masks.save(path)


def test_no_two_formats_share_a_suffix():
    suffixes = [suffix for format in FORMATS for suffix in format.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)


@pytest.mark.parametrize("suffix", [suffix for format in FORMATS for suffix in format.suffixes])
def test_every_format_is_written(masks, tmp_path, suffix):
    paths = masks.save(tmp_path / f"a{suffix}")
    assert all(path.stat().st_size for path in paths)
    assert len(paths) == (len(masks) if format_of(f"a{suffix}")[0].a_file_each else 1)


def test_the_documentation_has_a_row_for_each_format():
    """What the table says, the page says: suffixes, what is written, what it holds."""
    page = (Path(__file__).parents[2] / "docs/how-to/label-formats.md").read_text(encoding="utf-8")
    contents = ("names", "scores", "ids", "holes", "overlaps", "empty")
    for format in FORMATS:
        suffixes = " ".join(f"`{suffix}`" for suffix in format.suffixes)
        held = " | ".join("yes" if content in format.holds else "" for content in contents)
        line = f"| `{format.name}` | {suffixes} | {format.what} | {held} |"
        assert line.replace("|  |", "| |").replace("|  |", "| |") in page


def test_a_new_format_is_one_file_and_one_line(masks, tmp_path, monkeypatch):
    module = ModuleType("pocketsam.predict.formats.pixels")
    module.encode = lambda result, suffix: [" ".join(map(str, result.names)).encode()]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, Format("pixels", (".txt",), "the class names")))
    (path,) = masks.save(tmp_path / "a.txt")
    assert path.read_text() == "shoe cap"


def test_coco_has_a_category_for_each_name_and_says_what_is_empty(masks, tmp_path):
    (path,) = masks.save(tmp_path / "a.json")
    document = json.loads(path.read_text())
    assert document == masks.coco()
    assert document["categories"] == [{"id": 1, "name": "cap"}, {"id": 2, "name": "shoe"}]
    assert [one["category_id"] for one in document["annotations"]] == [2, 1]
    assert [one["empty"] for one in document["annotations"]] == [False, True]
    np.testing.assert_array_equal(coco.decode(document["annotations"][0]["segmentation"]), masks.binary[0])


def test_labelme_has_a_polygon_for_each_part(masks, tmp_path):
    (path,) = masks.save(tmp_path / "a.labelme.json")
    document = json.loads(path.read_text())
    assert (document["imagePath"], document["imageHeight"], document["imageWidth"]) == (
        "a.jpg",
        HEIGHT,
        WIDTH,
    )
    (shape,) = document["shapes"]
    assert (shape["label"], shape["shape_type"], shape["group_id"]) == ("shoe", "polygon", 1)
    points = np.array(shape["points"])
    assert (points.min(axis=0).tolist(), points.max(axis=0).tolist()) == ([4, 6], [40, 30])


def test_geojson_keeps_holes_and_empty_masks(masks, tmp_path):
    (path,) = masks.save(tmp_path / "a.geojson")
    ring, nothing = json.loads(path.read_text())["features"]
    ((outer, hole),) = ring["geometry"]["coordinates"]
    assert outer[0] == outer[-1] and hole[0] == hole[-1]
    assert (min(outer), max(outer)) == ([4, 6], [40, 30])
    assert len(hole) == 5
    assert (ring["properties"]["name"], ring["properties"]["empty"]) == ("shoe", False)
    assert (nothing["geometry"], nothing["properties"]["empty"]) == (None, True)


def test_a_label_map_counts_the_masks_from_1(masks, tmp_path):
    (path,) = masks.save(tmp_path / "a.labels.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), masks.binary[0].astype(np.uint16))


def test_cutouts_are_the_photo_where_the_masks_are(masks, tmp_path):
    for path, pixels, mask in zip(
        masks.save(tmp_path / "a.cutout.png"), masks.cutouts(), masks.binary, strict=True
    ):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
        np.testing.assert_array_equal(pixels[..., 3] == 255, mask)
        np.testing.assert_array_equal(pixels[..., :3], masks.image * mask[..., None])


def test_logits_come_with_all_that_is_known_of_the_masks(masks, tmp_path):
    (path,) = masks.save(tmp_path / "a.npz")
    with np.load(path, allow_pickle=False) as saved:
        assert saved["names"].tolist() == ["shoe", "cap"]
        assert saved["empty"].tolist() == [False, True]
        assert saved["objects"].tolist() == [0, 1]
