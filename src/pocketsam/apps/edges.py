"""Zero-shot edges: the outlines of everything mode's masks as an edge map (SAM, arXiv 2304.02643, section 7.2).

As in appendix D.2 of that paper: a 16 × 16 grid of points gives three masks each; redundant ones are removed by
non-maximum suppression; the Sobel filter of each mask's probabilities, kept along the mask's boundary, is an edge map
of the mask, at the resolution of its logits; the maximum over all masks, enlarged and scaled to 1, is thinned by edge
non-maximum suppression (Canny).

The filters of everything mode stay out of the way, as there: a threshold on the edges decides later.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.automatic.schedule import point_grid
from pocketsam.segmenter import Photo
from pocketsam.utils.boxes import nms

POINTS_PER_SIDE = 16
NMS_THRESH = 0.7
"""Of two masks whose boxes have a larger IoU, the less confident one is redundant."""
SMOOTHING = 2.0
"""Standard deviation, in pixels, of the map by which the direction of an edge is found."""

MARGIN = 1e-3
"""By which an edge must be larger than what is on one of its sides, as a fraction."""

Map = NDArray[np.float32]


def edge_map(photo: Photo, points_per_side: int = POINTS_PER_SIDE) -> Map:
    """The edges of a photo, (H, W) float32 from 0 to 1, one pixel wide.

    points_per_side: of the grid of prompts.
    """
    edges = np.zeros((photo.geometry.low_resolution,) * 2, np.float32)
    for logits in _masks(photo, points_per_side):
        np.maximum(edges, edges_of_mask(logits), out=edges)
    enlarged = photo.geometry.logits_to_photo(edges)
    return thin(enlarged / max(float(enlarged.max()), 1e-6))


def _masks(photo: Photo, points_per_side: int) -> Iterator[Map]:
    """The logits (h, w) of all masks of a grid of points that are not redundant, the most confident first."""
    grid = point_grid(points_per_side) * (photo.geometry.width, photo.geometry.height)
    found = photo.candidates(points=grid[:, None])
    numbers = list(photo.config.click_masks)
    logits = found.logits[:, numbers].reshape(-1, *found.logits.shape[2:])
    confidence = found.predicted_iou[:, numbers].ravel()
    boxes = np.array([_box(one) for one in logits], np.int64)
    yield from logits[nms(boxes, confidence, NMS_THRESH)]


def _box(logits: Map) -> tuple[int, int, int, int]:
    """The outermost cells of a mask: x0, y0, x1, y1; zeros for an empty one."""
    rows, columns = np.flatnonzero((logits > 0).any(axis=1)), np.flatnonzero((logits > 0).any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if rows.size else (0, 0, 0, 0)


def edges_of_mask(logits: Map) -> Map:
    """How steep the probability of a mask is along its boundary, (H, W): 0 elsewhere. logits: (H, W)."""
    probability = np.asarray(1 / (1 + np.exp(-logits.clip(-20, 20))), np.float32)
    slope = np.hypot(cv2.Sobel(probability, cv2.CV_32F, 1, 0), cv2.Sobel(probability, cv2.CV_32F, 0, 1))
    mask, cross = (logits > 0).view(np.uint8), np.ones((3, 3), np.uint8)
    beside = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, cross) > 0
    return np.asarray(np.where(beside, slope, 0), np.float32)


def thin(edges: Map) -> Map:
    """Edges (H, W) where they are largest across their own direction, 0 elsewhere: Canny's suppression.

    The direction is that in which the smoothed map bends most (as in Dollár and Zitnick, TPAMI 2015), and the values
    on both sides, one pixel away, are interpolated.
    """
    smooth = cv2.GaussianBlur(edges, (0, 0), SMOOTHING)
    dxx, dyy, dxy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((2, 0), (0, 2), (1, 1)))
    angle = 0.5 * np.arctan2(2 * dxy, dxx - dyy) + np.pi / 2  # of the axis with the larger second derivative
    x, y = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in edges.shape[::-1]))
    step = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    beside = [
        cv2.remap(
            edges, x + sign * step[0], y + sign * step[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for sign in (1, -1)
    ]
    # An edge between two pixels has two equally large ones: the margin leaves one of them.
    largest = (edges >= (1 + MARGIN) * beside[0]) & (edges >= beside[1])
    return np.asarray(np.where(largest, edges, 0), np.float32)
