import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pocketsam.data.sample import Sample
from pocketsam.training.config import Augmentation
from pocketsam.training.samples.augment import augment, compress, crop_window, paste, whole_photo, zoom_out
from pocketsam.training.samples.drawn import draw_scene
from shards import blocks, paint

PLAIN = Augmentation(whole=1.0, flip=0.0, colour=0.0, paste=0.0)


def sample(masks: np.ndarray, name: str = "x") -> Sample:
    rles = [coco_mask.encode(np.asfortranarray(m, np.uint8)) for m in masks]
    return Sample(name, paint(masks), rles, list(range(len(rles))))


def test_the_whole_photo_keeps_its_geometry() -> None:
    masks = blocks((6, 4, 30, 20), size=(40, 60))
    target = augment(sample(masks), None, 64, 1, PLAIN, np.random.default_rng(0))
    assert target is not None
    assert target.image.shape == (3, 64, 64) and target.masks.shape == (1, 16, 16)
    np.testing.assert_allclose(target.boxes, [[6.4, 6.4, 32.0, 32.0]], atol=1e-4)
    assert abs(target.masks[0].sum() / 255 / 256 - masks.mean()) < 0.01
    assert target.image[:, 16, 16].mean() > 40 > target.image[:, 60, 60].mean()


def test_a_flip_moves_image_masks_and_boxes_alike() -> None:
    masks = blocks((6, 4, 30, 20), size=(40, 60))
    how = Augmentation(whole=1.0, flip=1.0, colour=0.0, paste=0.0)
    there = augment(sample(masks), None, 64, 1, PLAIN, np.random.default_rng(0))
    back = augment(sample(masks), None, 64, 1, how, np.random.default_rng(0))
    assert there is not None and back is not None
    np.testing.assert_array_equal(back.image, there.image[..., ::-1])
    np.testing.assert_array_equal(back.masks, there.masks[..., ::-1])
    np.testing.assert_allclose(back.boxes[0, [0, 2]], 64 - there.boxes[0, [2, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_crops_hold_a_point_of_a_mask_and_boxes_fit_the_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = blocks((6, 4, 30, 20), (40, 25, 58, 38), size=(40, 60))
    x0, y0, x1, y1 = crop_window(masks.astype(np.uint8), Augmentation(whole=0.0), rng)
    assert 0 <= x0 < x1 <= 60 and 0 <= y0 < y1 <= 40
    assert masks[:, y0:y1, x0:x1].any()
    target = augment(sample(masks), None, 64, 4, Augmentation(), rng)
    assert target is not None and len(target.boxes) == 4
    for mask, (left, top, right, bottom) in zip(target.masks, target.boxes, strict=True):
        rows, columns = np.nonzero(mask > 127)
        assert left - 4 <= columns.min() * 4 and columns.max() * 4 + 4 <= right + 4
        assert top - 4 <= rows.min() * 4 and rows.max() * 4 + 4 <= bottom + 4


def test_a_pasted_object_hides_what_lies_beneath() -> None:
    below = np.ones((1, 40, 60), np.uint8)
    image = np.zeros((40, 60, 3), np.uint8)
    other = sample(blocks((5, 5, 35, 35), size=(40, 60)))
    pasted, masks = paste(image, below, other, np.random.default_rng(1))
    assert len(masks) == 2 and masks[1].any()
    assert not (masks[0] & masks[1]).any()
    assert pasted[masks[1] == 1].mean() > 40
    assert image.max() == 0 and below.all(), "the originals are left alone"


def test_masks_too_small_to_see_give_no_sample() -> None:
    tiny = blocks((10, 10, 11, 11), size=(400, 600))
    assert augment(sample(tiny), None, 64, 2, PLAIN, np.random.default_rng(0)) is None


def test_a_sample_is_a_function_of_its_seed() -> None:
    masks = blocks((6, 4, 30, 20), size=(40, 60))
    a, b, c = (
        augment(sample(masks), sample(masks), 64, 2, Augmentation(), np.random.default_rng(s))
        for s in (3, 3, 4)
    )
    assert a is not None and b is not None and c is not None
    np.testing.assert_array_equal(a.image, b.image)
    assert not np.array_equal(a.image, c.image)


def test_drawn_scenes_have_masks_inside_their_boxes() -> None:
    scene = draw_scene(128, 6, np.random.default_rng(0))
    assert scene.image.shape == (3, 128, 128) and scene.masks.shape == (6, 32, 32)
    for mask, (left, top, right, bottom) in zip(scene.masks, scene.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert left // 4 == columns.min() and top // 4 == rows.min()
        assert (right - 1) // 4 == columns.max() and (bottom - 1) // 4 == rows.max()


def test_what_is_off_changes_nothing() -> None:
    """Recipes that do not name blur, compression and zooming out mean what they meant: not even a number is drawn."""
    masks = blocks((6, 4, 30, 20), size=(40, 60))
    rng, other = np.random.default_rng(7), np.random.default_rng(7)
    off = augment(sample(masks), None, 64, 2, Augmentation(zoom_out=0, blur=0, jpeg=0), rng)
    default = augment(sample(masks), None, 64, 2, Augmentation(), other)
    assert off is not None and default is not None
    np.testing.assert_array_equal(off.image, default.image)
    assert rng.random() == other.random()


@pytest.mark.parametrize("kind", ["blur", "jpeg"])
def test_blur_and_compression_change_pixels_and_keep_labels(kind: str) -> None:
    masks = blocks((6, 4, 30, 20), (40, 25, 58, 38), size=(40, 60))
    plain = PLAIN.model_copy(update={kind: 1.0})
    before = augment(sample(masks), None, 64, 2, PLAIN, np.random.default_rng(0))
    after = augment(sample(masks), None, 64, 2, plain, np.random.default_rng(0))
    assert before is not None and after is not None
    np.testing.assert_array_equal(after.masks, before.masks)
    np.testing.assert_array_equal(after.boxes, before.boxes)
    difference = after.image.astype(int) - before.image
    assert 0 < abs(difference).mean() < 12 and after.image.shape == before.image.shape
    whole = whole_photo(sample(masks), 64, 0, "pad", plain, np.random.default_rng(0))
    assert whole is not None and not len(whole.masks)


def test_compression_keeps_the_order_of_the_colours() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(compress(red, 90).mean((0, 1)), [200, 0, 0], atol=4)


@pytest.mark.parametrize("seed", range(5))
def test_zooming_out_moves_photo_and_masks_alike(seed: int) -> None:
    masks = blocks((0, 0, 60, 40), (10, 8, 40, 32), size=(40, 60)).astype(np.uint8)
    image = np.full((40, 60, 3), 90, np.uint8)
    image[8:32, 10:40] = 200
    small, moved = zoom_out(image, masks, 0.4, np.random.default_rng(seed))
    assert small.shape == image.shape and moved.shape == masks.shape
    rows, columns = np.nonzero(moved[0])  # where the photo is
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert 0.4 * 40 - 1 <= height <= 40 and abs(width / 60 - height / 40) < 0.05
    outside = small[moved[0] == 0]
    assert not len(outside) or (outside == image.mean((0, 1)).round()).all(), "the canvas has the mean colour"
    assert small[moved[1] == 1].mean() > 185 and small[(moved[0] == 1) & (moved[1] == 0)].mean() < 105
    assert abs(moved[1].sum() / moved[0].sum() - masks[1].sum() / masks[0].sum()) < 0.05


def test_a_recipe_can_zoom_out() -> None:
    masks = blocks((0, 0, 60, 40), size=(40, 60))
    how = Augmentation(zoom_out=1.0, min_crop=0.3, flip=0, colour=0)
    areas = []
    for seed in range(20):
        target = augment(sample(masks), None, 64, 1, how, np.random.default_rng(seed))
        assert target is not None
        areas.append(float(target.masks.mean()) / 255)
    assert 0.05 < min(areas) < 0.4 and max(areas) > 0.6
