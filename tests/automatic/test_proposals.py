import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pocketsam.automatic.proposals import Proposals
from pocketsam.errors import InputError
from pocketsam.predict.formats import FORMATS
from pocketsam.utils.rle import decode, encode_at

HEIGHT, WIDTH = 48, 64
LARGE, SMALL, EMPTY = (4, 6, 40, 30), (10, 10, 15, 20), (0, 0, 0, 0)


def proposals_of(*boxes: tuple[int, int, int, int], **more) -> Proposals:
    """Proposals in a grey photo of 64 × 48 pixels, each a filled box x0, y0, x1, y1."""
    rows = [
        (
            encode_at(np.ones((y1 - y0, x1 - x0), bool), x0, y0, HEIGHT, WIDTH),
            np.array([x0, y0, max(x1 - 1, 0), max(y1 - 1, 0)]),
            (x1 - x0) * (y1 - y0),
            np.float32(0.9 - i / 10),
            0.97,
            np.array([(x0 + x1) / 2, (y0 + y1) / 2]),
            (0, 0, WIDTH, HEIGHT),
        )
        for i, (x0, y0, x1, y1) in enumerate(boxes)
    ]
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    return replace(Proposals.of(rows), **{"image": image, "file_name": "a.jpg"} | more)


def test_no_rows_are_no_proposals():
    none = proposals_of()
    assert (len(none), none.boxes.shape, none.areas.shape) == (0, (0, 4), (0,))


@pytest.mark.parametrize("index", [np.array([2, 0]), [2, 0], slice(None, None, -2)])
def test_a_selection_keeps_all_fields_and_the_photo(index):
    found = proposals_of(LARGE, SMALL, (20, 20, 30, 40))
    kept = found[index]
    assert kept.areas.tolist() == [10 * 20, 36 * 24]
    assert kept.rle == [found.rle[2], found.rle[0]]
    assert kept.boxes.tolist() == [[20, 20, 29, 39], [4, 6, 39, 29]]
    assert kept.points.tolist() == [[25, 30], [22, 18]]
    assert kept.image is found.image and kept.file_name == "a.jpg"


def test_proposals_can_be_chosen_by_a_condition():
    found = proposals_of(LARGE, SMALL, EMPTY)
    assert found[found.areas > 40].areas.tolist() == [36 * 24, 50]
    assert len(found[found.areas > 10_000]) == 0


def test_parts_are_joined_in_order():
    joined = Proposals.join([proposals_of(LARGE), proposals_of(), proposals_of(SMALL, EMPTY)])
    assert joined.areas.tolist() == [36 * 24, 50, 0]
    assert len(joined.rle) == len(joined.boxes) == len(joined.points) == 3
    assert joined.file_name == "a.jpg"


def test_coco_json_can_be_read_back(tmp_path):
    found = proposals_of(LARGE, SMALL, EMPTY)
    assert found.save(tmp_path / "new folder" / "a.json") == [tmp_path / "new folder" / "a.json"]
    document = json.loads((tmp_path / "new folder" / "a.json").read_text())
    assert document["images"] == [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}]
    first, second, third = document["annotations"]
    np.testing.assert_array_equal(coco.decode(first["segmentation"]), decode(found.rle[0]))
    assert (first["id"], first["image_id"], second["id"]) == (1, 1, 2)
    assert (first["bbox"], first["area"]) == ([4, 6, 36, 24], 864)
    assert (first["predicted_iou"], first["stability_score"], first["point"]) == (0.9, 0.97, [22, 18])
    assert third["bbox"] == [0, 0, 0, 0]
    assert {first["category_id"]} == {category["id"] for category in document["categories"]}


@pytest.mark.parametrize("more", [{}, {"image": None}])
def test_in_a_label_map_small_masks_lie_above_large_ones(tmp_path, more):
    (path,) = proposals_of(SMALL, EMPTY, LARGE, **more).save(tmp_path / "a.labels.png")
    expected = np.zeros((HEIGHT, WIDTH), np.uint16)
    expected[6:30, 4:40] = 3
    expected[10:20, 10:15] = 1
    labels = np.asarray(Image.open(path))
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, expected)


def test_a_label_map_has_no_room_for_more_masks_than_16_bits_can_count(tmp_path):
    with pytest.raises(InputError, match="a label map holds 65535 masks, but there are 65536"):
        proposals_of(SMALL)[np.zeros(65536, int)].save(tmp_path / "a.labels.png")


def test_an_overlay_colours_the_masks_and_leaves_the_rest():
    overlay = proposals_of((8, 8, 20, 20), (30, 8, 42, 20), EMPTY).overlay()
    assert overlay.shape == (HEIGHT, WIDTH, 3) and overlay.dtype == np.uint8
    assert (overlay[24:] == 120).all()
    colours = overlay[14, 14].tolist(), overlay[14, 36].tolist()
    assert colours[0] != colours[1] and [120, 120, 120] not in colours


def test_on_an_overlay_small_masks_lie_above_large_ones():
    inner, outer = (20, 14, 30, 24), (8, 4, 44, 36)
    alone = proposals_of(inner).overlay()[19, 25].tolist()
    assert proposals_of(inner, outer).overlay()[19, 25].tolist() == alone


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_an_overlay_is_saved_in_the_format_of_its_ending(tmp_path, suffix):
    found = proposals_of(LARGE)
    (path,) = found.save(tmp_path / f"a{suffix}")
    with Image.open(path) as image:
        assert image.size == (WIDTH, HEIGHT)
        difference = np.asarray(image.convert("RGB"), int) - found.overlay()
    assert abs(difference).mean() < 8


def test_no_proposals_are_an_answer_too(tmp_path):
    none = proposals_of()
    for name in ("none.json", "none.labels.png", "none.png"):
        none.save(tmp_path / name)
    assert json.loads((tmp_path / "none.json").read_text())["annotations"] == []
    assert not np.asarray(Image.open(tmp_path / "none.labels.png")).any()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "none.png")), none.image)


def test_without_the_photo_there_is_no_overlay(tmp_path):
    found = proposals_of(LARGE, image=None)
    found.save(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a.jpg: these masks carry no photo"):
        found.save(tmp_path / "a.png")


def test_another_ending_is_refused_and_those_it_knows_are_named(tmp_path):
    suffixes = (suffix for format in FORMATS for suffix in format.suffixes if format.needs != "logits")
    known = f"use one of {' '.join(suffixes)}$"
    with pytest.raises(InputError, match=f"a.npz: the suffix says what to write; {known}"):
        proposals_of(LARGE).save(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_only_one_mask_at_a_time_is_unpacked(tmp_path):
    """A thousand masks of a photo of 24 megapixels would need 24 GB; the label map itself has 48 MB."""
    mask = encode_at(np.ones((50, 50), bool), 3000, 2000, 4000, 6000)
    row = mask, np.array([3000, 2000, 3049, 2049]), 2500, np.float32(1), 1.0, np.zeros(2), (0, 0, 6000, 4000)
    (path,) = Proposals.of([row] * 1000).save(tmp_path / "a.labels.png")
    with Image.open(path) as labels:
        assert labels.getpixel((3025, 2025)) == 1000
