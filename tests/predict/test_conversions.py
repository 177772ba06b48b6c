"""What masks and proposals give without writing a file."""

import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pocketsam.automatic.proposals import Proposals
from pocketsam.errors import InputError
from pocketsam.predict.conversions import NOTEBOOK_SIDE
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.utils.rle import encode

HEIGHT, WIDTH = 30, 40
BINARY = np.zeros((3, HEIGHT, WIDTH), bool)
BINARY[0, 5:20, 10:30] = True
BINARY[1, 0, :3] = True
PHOTO = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)


def masks(**more) -> Masks:
    given = {
        "image": PHOTO,
        "file_name": "a.jpg",
        "names": ["shoe", "cap", "shoe"],
        "rle": [*map(encode, BINARY)],
    }
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    return Masks(np.zeros((3, 10, 10), np.float32), scores, Geometry(HEIGHT, WIDTH, 40), **given | more)


def proposals(**more) -> Proposals:
    zeros, points = np.zeros((3, 4), np.int64), np.zeros((3, 2))
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    given = {"image": PHOTO, "file_name": "a.jpg"} | more
    return Proposals([*map(encode, BINARY)], zeros, zeros[:, 0], scores, scores, points, zeros, **given)


BOTH = pytest.mark.parametrize("make", [masks, proposals])


@BOTH
def test_masks_of_fewer_than_4_pixels_are_empty(make):
    assert make().empty.tolist() == [False, True, True]


def test_a_mask_of_a_whole_tiny_photo_is_not_empty():
    tiny = Masks(np.ones((1, 4, 4), np.float32), np.ones(1, np.float32), Geometry(1, 2, 16))
    assert tiny.areas.tolist() == [2]
    assert not tiny.empty.any()


@BOTH
def test_coco_polygons_and_cutouts_come_without_a_file(make):
    result = make()
    document = result.coco()
    assert [one["empty"] for one in document["annotations"]] == [False, True, True]
    assert [one["id"] for one in document["annotations"]] == [1, 2, 3]
    assert document["images"][0]["file_name"] == "a.jpg"
    assert [len(polygons) for polygons in result.polygons] == [1, 1, 0]
    np.testing.assert_array_equal([pixels[..., 3] > 0 for pixels in result.cutouts()], BINARY)


@BOTH
def test_a_notebook_shows_the_overlay(make):
    with Image.open(BytesIO(make()._repr_png_())) as picture:
        assert picture.size == (WIDTH, HEIGHT)
    assert make(image=None)._repr_png_() is None


def test_a_notebook_shows_a_large_photo_smaller():
    large = Masks(
        np.ones((1, 16, 16), np.float32),
        np.ones(1, np.float32),
        Geometry(200, 2 * NOTEBOOK_SIDE, 64),
        np.zeros((200, 2 * NOTEBOOK_SIDE, 3), np.uint8),
    )
    with Image.open(BytesIO(large._repr_png_())) as picture:
        assert picture.size == (NOTEBOOK_SIDE, 100)


@BOTH
def test_supervision_gets_boxes_masks_scores_and_classes(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **fields: fields))
    found = make().to_supervision()
    assert found["xyxy"].tolist() == [[10, 5, 30, 20], [0, 0, 3, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found["mask"], BINARY)
    assert found["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    named = make is masks
    assert found["class_id"].tolist() == ([1, 0, 1] if named else [0, 0, 0])
    assert found["data"]["class_name"].tolist() == (["shoe", "cap", "shoe"] if named else ["object"] * 3)


def test_without_supervision_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(
        InputError, match="to_supervision needs supervision; install it with: pip install superv"
    ):
        masks().to_supervision()
