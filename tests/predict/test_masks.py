import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.prompts import Prompts

HEIGHT, WIDTH = 48, 64


def masks_of(*boxes: tuple[int, int, int, int], **more) -> Masks:
    """Masks of a photo of 64 × 48 pixels, each a filled box x0, y0, x1, y1. Model and photo pixels agree."""
    logits = np.full((len(boxes), HEIGHT, WIDTH), -10, np.float32)
    for one, (x0, y0, x1, y1) in zip(logits, boxes, strict=True):
        one[y0:y1, x0:x1] = 10
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    padded = np.pad(logits, ((0, 0), (0, WIDTH - HEIGHT), (0, 0)), constant_values=-10)
    geometry = Geometry(HEIGHT, WIDTH, WIDTH, "pad")
    return Masks(padded, scores, geometry, **{"image": image, "file_name": "a.jpg"} | more)


LARGE, SMALL, EMPTY = (4, 6, 40, 30), (10, 10, 15, 20), (0, 0, 0, 0)


def test_masks_at_the_photos_resolution():
    binary = masks_of(LARGE, SMALL).binary
    assert binary.shape == (2, HEIGHT, WIDTH)
    assert binary.dtype == bool
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[6:30, 4:40] = True
    np.testing.assert_array_equal(binary[0], expected)


def of_box(box, points=None, **more) -> Masks:
    """The mask LARGE, prompted by a box, with a margin of a tenth."""
    prompts = Prompts.of(points, boxes=box, photo_size=(HEIGHT, WIDTH))
    return masks_of(LARGE, prompts=prompts, box_margin=0.1, **more)


def test_the_mask_of_a_box_ends_at_the_box_and_its_margin():
    masks = of_box((10, 10, 30, 20))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[9:21, 8:32] = True
    np.testing.assert_array_equal(masks.binary[0], expected)
    assert masks.boxes.tolist() == [[8, 9, 32, 21]]
    assert (masks.logits > 0).sum() == 36 * 24, "the logits stay as the decoder gave them"


def test_so_does_a_refined_one():
    rng = np.random.default_rng(0)
    prompts = Prompts.of(boxes=(10, 10, 30, 20), photo_size=(HEIGHT, WIDTH))
    logits = np.full((1, 16, 16), -3, np.float32)
    logits[0, 2:9, 1:11] = 3
    image = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    masks = Masks(
        logits, np.ones(1, np.float32), Geometry(HEIGHT, WIDTH, 64), image, prompts=prompts, box_margin=0.1
    )
    x0, y0, x1, y1 = masks.refined().boxes[0]
    assert x0 >= 8 and y0 >= 9 and x1 <= 32 and y1 <= 21 and masks.refined().areas[0] > 100


@pytest.mark.parametrize(
    "changed",
    [{"box_margin": None}, {"prompts": Prompts.of((10, 10), photo_size=(HEIGHT, WIDTH))}, {"prompts": None}],
    ids=["no margin", "no box", "no prompts"],
)
def test_other_masks_do_not(changed):
    assert masks_of(LARGE, **{"box_margin": 0.1} | changed).areas.tolist() == [36 * 24]


def test_a_click_outside_says_that_the_box_is_too_small():
    box = (10, 10, 30, 20)
    assert of_box(box, (36, 12)).areas.tolist() == [36 * 24]
    assert of_box(box, (31, 12)).areas.tolist() == [24 * 12], "inside the margin"


def test_each_of_several_masks_has_its_own_box_or_none():
    boxes = np.array([(10, 10, 30, 20), (0, 0, 64, 48)], np.float32)
    prompts = Prompts.of(boxes=boxes, photo_size=(HEIGHT, WIDTH))
    masks = masks_of(LARGE, LARGE, prompts=prompts, box_margin=0.0)
    clicked = masks_of(LARGE, prompts=Prompts.of((5, 7), photo_size=(HEIGHT, WIDTH)), box_margin=0.0)
    joined = Masks.join([masks, clicked], [2, 0, 1])
    assert joined.areas.tolist() == [36 * 24, 36 * 24, 20 * 10]
    assert joined[[2]].areas.tolist() == [20 * 10]


def test_areas_and_boxes_are_those_of_the_pixels():
    masks = masks_of(LARGE, SMALL, EMPTY)
    assert masks.areas.tolist() == [36 * 24, 5 * 10, 0]
    assert masks.boxes.tolist() == [list(LARGE), list(SMALL), [0, 0, 0, 0]]


@pytest.mark.parametrize("binary_first", [True, False])
def test_run_lengths_are_cocos(binary_first):
    masks = masks_of(LARGE, EMPTY)
    if binary_first:
        assert masks.binary.any()
    assert [rle["size"] for rle in masks.rle] == [[HEIGHT, WIDTH]] * 2
    np.testing.assert_array_equal(coco.decode(masks.rle).transpose(2, 0, 1), masks.binary)


def test_polygons_run_around_each_part():
    (polygon,), (), _ = masks_of(LARGE, EMPTY, SMALL).polygons
    assert polygon.shape == (4, 2)
    assert (polygon.min(axis=0).tolist(), polygon.max(axis=0).tolist()) == ([4, 6], [40, 30])


def test_masks_can_be_picked_like_a_list():
    masks = masks_of(LARGE, SMALL, EMPTY, objects=np.array([7, 8, 9]))
    assert len(masks) == 3
    assert [len(masks[1]), len(masks[-1]), len(masks[1:])] == [1, 1, 2]
    assert masks[1].boxes.tolist() == [list(SMALL)]
    assert masks[-1].objects.tolist() == [9]
    assert masks[masks.predicted_iou > 0.6].objects.tolist() == [7, 8]
    assert [one.areas[0] for one in masks] == masks.areas.tolist()
    with pytest.raises(IndexError):
        masks[3]


def test_no_masks_are_masks_too(tmp_path):
    none = masks_of(LARGE)[[]]
    assert (len(none), len(none.areas), none.binary.shape, none.boxes.shape) == (
        0,
        0,
        (0, HEIGHT, WIDTH),
        (0, 4),
    )
    none.save(tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_text())["annotations"] == []


def test_coco_json_can_be_read_back(tmp_path):
    masks = masks_of(LARGE, SMALL, objects=np.array([0, 0]))
    assert masks.save(tmp_path / "new folder" / "a.json") == [tmp_path / "new folder" / "a.json"]
    document = json.loads((tmp_path / "new folder" / "a.json").read_text())
    assert document["images"] == [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}]
    first, second = document["annotations"]
    np.testing.assert_array_equal(coco.decode(first["segmentation"]), masks.binary[0])
    assert (first["bbox"], first["area"], first["predicted_iou"]) == ([4, 6, 36, 24], 864, 0.9)
    assert (second["id"], second["object"]) == (2, 0)
    assert {first["category_id"]} == {category["id"] for category in document["categories"]}


def test_a_cutout_is_the_photo_where_the_mask_is(tmp_path):
    masks = masks_of(LARGE)
    (path,) = masks.save(tmp_path / "a.cutout.png")
    rgba = np.asarray(Image.open(path))
    inside = masks.binary[0]
    np.testing.assert_array_equal(rgba[inside, :3], masks.image[inside])
    assert not rgba[~inside].any()  # not even hidden colours of what was cut away
    np.testing.assert_array_equal(rgba[..., 3] == 255, inside)


def test_several_cutouts_are_numbered(tmp_path):
    paths = masks_of(LARGE, SMALL).save(tmp_path / "a.b.Cutout.PNG")
    assert [path.name for path in paths] == ["a.b.0.Cutout.PNG", "a.b.1.Cutout.PNG"]
    assert all(path.exists() for path in paths)


def test_in_a_label_map_small_masks_lie_above_large_ones(tmp_path):
    (path,) = masks_of(SMALL, LARGE).save(tmp_path / "a.labels.png")
    labels = np.asarray(Image.open(path))
    assert labels.dtype == np.uint16
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert (labels == 1).sum() == 5 * 10
    assert (labels == 2).sum() == 36 * 24 - 5 * 10


def test_logits_can_be_saved(tmp_path):
    masks = masks_of(LARGE, SMALL)
    masks.save(tmp_path / "a.npy")
    masks.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), masks.logits)
    with np.load(tmp_path / "a.npz") as saved:
        np.testing.assert_array_equal(saved["logits"], masks.logits)
        np.testing.assert_array_equal(saved["predicted_iou"], masks.predicted_iou)


def test_an_overlay_colours_the_masks_and_leaves_the_rest():
    masks = masks_of((8, 8, 20, 20), (30, 8, 42, 20))
    overlay = masks.overlay()
    assert overlay.shape == masks.image.shape and overlay.dtype == np.uint8
    assert (overlay[24:] == masks.image[24:]).all()
    colours = overlay[14, 14].tolist(), overlay[14, 36].tolist()
    assert colours[0] != colours[1] and [120, 120, 120] not in colours
    assert (masks.image == 120).all()


def test_on_an_overlay_small_masks_lie_above_large_ones():
    inner, outer = (20, 14, 30, 24), (8, 4, 44, 36)
    assert masks_of(inner, outer).overlay()[19, 25].tolist() == masks_of(inner).overlay()[19, 25].tolist()


def test_a_mask_looks_the_same_wherever_it_lies():
    """With its hole, its outline and its islands: what is drawn moves with it."""
    masks = masks_of((8, 8, 24, 22), (26, 8, 30, 12))
    logits = masks.logits.max(axis=0, keepdims=True)
    logits[:, 12:17, 12:18] = -10
    here, there = (
        Masks(np.roll(logits, shift, axis=(1, 2)), masks.predicted_iou[:1], masks.geometry, masks.image)
        for shift in ((0, 0), (13, 21))
    )
    assert (here.overlay() != 120).any()
    np.testing.assert_array_equal(there.overlay(), np.roll(here.overlay(), (13, 21), axis=(0, 1)))


@pytest.mark.parametrize("name", ["a.json", "a.labels.png", "a.png", "a.cutout.png"])
def test_nothing_that_is_saved_needs_all_masks_unpacked(tmp_path, name):
    masks = masks_of(LARGE, SMALL, EMPTY)
    masks.save(tmp_path / name)
    assert "binary" not in vars(masks)


def test_an_overlay_shows_the_prompts_of_its_objects():
    points = [[(50, 40), (10, 40)], [(50, 10), (10, 40)]]
    prompts = Prompts.of(points=points, labels=[[1, 1], [0, 1]], photo_size=(HEIGHT, WIDTH))
    masks = masks_of(SMALL, SMALL, prompts=prompts)
    centres = [masks[i].overlay()[y - 3, 47].tolist() for i, y in ((0, 40), (1, 10))]
    (r0, g0, _), (r1, g1, _) = centres
    assert g0 > r0 and r1 > g1  # green for foreground, red for background
    assert (masks[0].overlay()[:20, 40:] == 120).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_an_overlay_is_saved_in_the_format_of_its_ending(tmp_path, suffix):
    masks = masks_of(LARGE)
    (path,) = masks.save(tmp_path / f"a{suffix}")
    with Image.open(path) as image:
        assert image.size == (WIDTH, HEIGHT)
        difference = np.asarray(image.convert("RGB"), int) - masks.overlay()
    assert abs(difference).mean() < 8


def test_masks_without_a_photo_have_no_overlay(tmp_path):
    masks = masks_of(LARGE, image=None)
    masks.save(tmp_path / "a.json")
    for name in ("a.png", "a.cutout.png"):
        with pytest.raises(InputError, match="carry no photo"):
            masks.save(tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"a.json: cannot be written \("):
        masks_of(LARGE).save(tmp_path / "file" / "a.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        masks_of(LARGE).save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
