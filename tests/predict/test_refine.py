"""Refined outlines: they follow the photo's edges, where there are any, and nothing else changes."""

import cv2
import numpy as np
import pytest

from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.refine import BAND, CERTAIN, near_outline, refine, refine_part
from pocketsam.utils.rle import decode

SIDE = 400
CELL = 16  # pixels in a cell of 25 × 25 logits
INSIDE, OUTSIDE = (200, 60, 40), (60, 90, 180)


def star(side: int = SIDE) -> np.ndarray:
    """A shape with corners: a mask (side, side)."""
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 0.22, 0.42) * side
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) + side / 2
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask.astype(bool)


def painted(mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], INSIDE, OUTSIDE).astype(np.uint8)


def blocky(mask: np.ndarray, certain: float = 3.0) -> np.ndarray:
    """Logits at the photo's resolution, made from no more than a cell's mean of the mask."""
    height, width = mask.shape
    cells = cv2.resize(mask.astype(np.float32), (width // CELL, height // CELL), interpolation=cv2.INTER_AREA)
    return cv2.resize(certain * (2 * cells - 1), (width, height), interpolation=cv2.INTER_LINEAR)


def boundary_iou(a: np.ndarray, b: np.ndarray, share: float = 0.02) -> float:
    """Cheng et al. 2021: the IoU of the pixels within 2 % of the diagonal of the outlines."""
    distance = max(1, round(share * np.hypot(*a.shape)))
    kernel = np.ones((2 * distance + 1,) * 2, np.uint8)

    def rim(mask):
        return mask & ~cv2.erode(mask.astype(np.uint8), kernel, borderValue=0).astype(bool)

    return (rim(a) & rim(b)).sum() / (rim(a) | rim(b)).sum()


def test_the_outline_moves_to_the_edge_in_the_photo():
    truth = star()
    logits = blocky(truth)
    before, after = logits > 0, refine_part(logits, painted(truth), CELL)
    assert boundary_iou(after, truth) > boundary_iou(before, truth) + 0.1
    assert (after ^ truth).sum() < 0.5 * (before ^ truth).sum()


def test_noise_in_the_photo_does_not_undo_it():
    truth = star()
    noise = np.random.default_rng(0).normal(0, 12, (SIDE, SIDE, 3))
    photo = (painted(truth) + noise).clip(0, 255).astype(np.uint8)
    logits = blocky(truth)
    assert boundary_iou(refine_part(logits, photo, CELL), truth) > boundary_iou(logits > 0, truth) + 0.1


def test_on_a_flat_photo_the_mask_stays():
    logits = blocky(star())
    flat = np.full((SIDE, SIDE, 3), 77, np.uint8)
    np.testing.assert_array_equal(refine_part(logits, flat, CELL), logits > 0)


def test_what_is_certain_and_what_is_far_from_the_outline_stays():
    logits = blocky(star(), certain=2 * CERTAIN)
    photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    changed = refine_part(logits, photo, CELL) ^ (logits > 0)
    assert changed.any()
    assert not (changed & (abs(logits) >= CERTAIN)).any()
    assert not (changed & ~near_outline(logits > 0, round(BAND * CELL))).any()


def test_no_holes_and_no_islands_are_made():
    """Spots of the other side's colour beside the outline, which a filter by colour alone would follow."""
    truth = star()
    photo = painted(truth)
    for x, y in np.random.default_rng(0).integers(40, 360, (300, 2)):
        cv2.circle(photo, (int(x), int(y)), 3, INSIDE if not truth[y, x] else OUTSIDE, cv2.FILLED)
    logits = blocky(truth, certain=1.0)
    refined = refine_part(logits, photo, CELL)

    def regions(mask):
        return cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1

    before = logits > 0
    assert (refined ^ before).any()
    assert regions(refined) == regions(before) == 1
    assert regions(~refined) == regions(~before) == 1


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (1, 1), (3, 900)])
def test_a_part_of_the_photo_gives_the_same_as_the_whole(size):
    height, width = size
    geometry = Geometry(height, width, 256)
    mask = np.zeros(size, bool)
    mask[height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = True
    photo = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 5)
    logits = geometry.mask_to_model(mask)
    cell = 4 * max(height / geometry.resized[0], width / geometry.resized[1])
    refined = decode(refine(logits, photo, geometry))
    assert refined.shape == size
    assert (refined ^ refine_part(geometry.logits_to_photo(logits), photo, cell)).mean() < 0.02


def test_an_empty_mask_stays_empty():
    geometry = Geometry(30, 40, 64)
    photo = np.zeros((30, 40, 3), np.uint8)
    assert not decode(refine(np.full((16, 16), -9, np.float32), photo, geometry)).any()


def test_refined_masks_keep_their_logits_and_are_used_everywhere():
    truth = star(256)
    geometry = Geometry(256, 256, 64)
    logits = geometry.mask_to_model(truth)[None] / 4
    masks = Masks(logits, np.array([0.9], np.float32), geometry, painted(truth))
    refined = masks.refined()
    np.testing.assert_array_equal(refined.logits, masks.logits)
    assert boundary_iou(refined.binary[0], truth) > boundary_iou(masks.binary[0], truth)
    assert refined.areas[0] == refined.binary[0].sum() == decode(refined[0].rle[0]).sum()
