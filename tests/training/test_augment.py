import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pocketsam.data.sample import Sample
from pocketsam.training.augment import Augmentation, augment, crop_window, paste
from pocketsam.training.shapes import draw_scene
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
