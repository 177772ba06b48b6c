"""Masks and prompts drawn on a photo: a tint and a thin outline for each mask, clicks and boxes on top.

Sizes follow the photo's, so that an overlay looks the same on a thumbnail and on a 12-megapixel photo.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pocketsam.config import BACKGROUND, FOREGROUND
from pocketsam.predict.outlines import find_contours
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.rle import RLE, areas, decode_box

# Masks take these in turn. All colours are RGB.
PALETTE = (
    (10, 132, 255),
    (255, 149, 0),
    (48, 209, 88),
    (255, 55, 95),
    (191, 90, 242),
    (255, 214, 10),
    (100, 210, 255),
    (172, 142, 104),
)
WHITE = (255, 255, 255)
CLICK_COLOURS = {FOREGROUND: (30, 170, 70), BACKGROUND: (225, 45, 45)}
OPACITY = 0.6
_SHIFT = 4  # OpenCV draws at 1/16 pixel


def draw_masks(image: NDArray[np.uint8], masks: Sequence[RLE]) -> NDArray[np.uint8]:
    """A copy of the photo uint8 (H, W, 3) with N masks on it, small ones above large ones.

    The masks come as run lengths, so that there may be hundreds: only one at a time is unpacked, and only its box.
    """
    canvas = image.copy()
    line = _line_width(canvas)
    outlines = []
    for i in np.argsort(-areas(masks), kind="stable"):
        mask, x0, y0 = decode_box(masks[i])
        if mask.size:
            _tint(canvas, image, mask, (x0, y0), _colour(i))
            outlines.append((find_contours(mask, (x0, y0)), _colour(i)))
    for contours, colour in outlines:
        cv2.drawContours(canvas, contours, -1, WHITE, 2 * line, cv2.LINE_AA)
        cv2.drawContours(canvas, contours, -1, colour, line, cv2.LINE_AA)
    return canvas


def draw_prompts(canvas: NDArray[np.uint8], prompts: Prompts, masks: NDArray[np.intp]) -> None:
    """Draws the prompts of N objects onto `canvas`. masks: (N,) the mask whose colour a box takes."""
    if prompts.boxes is not None:
        for box, i in zip(prompts.boxes, masks, strict=True):
            if np.isnan(box).any():  # among joined prompts, an object without a box
                continue
            # A box's edges lie between pixels: the last pixels inside are x1 - 1 and y1 - 1.
            x0, y0, x1, y1 = (round(float(edge)) for edge in box)
            cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), _colour(i), _line_width(canvas))
    for (x, y), label in zip(prompts.points.reshape(-1, 2), prompts.labels.ravel(), strict=True):
        if label in CLICK_COLOURS:
            _draw_click(canvas, float(x), float(y), int(label))


def draw_words(canvas: NDArray[np.uint8], boxes: NDArray[np.float32], words: Sequence[str]) -> None:
    """Writes a few words at the upper left corner of each of N boxes (N, 4) XYXY, in the colour of its mask."""
    size = max(11, max(canvas.shape[:2]) // 40)
    font, picture = ImageFont.load_default(size), Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for i, (box, text) in enumerate(zip(boxes, words, strict=True)):
        left, _, right, bottom = draw.textbbox((0, 0), text, font)
        x = float(np.clip(box[0], 0, max(0, canvas.shape[1] - right + left - 6)))
        y = float(max(0, box[1] - bottom - 4))
        draw.rectangle((x, y, x + right - left + 6, y + bottom + 4), fill=_colour(np.intp(i)))
        draw.text((x + 3, y + 1), text, WHITE, font)
    np.copyto(canvas, np.asarray(picture))


def _colour(i: np.intp) -> tuple[int, int, int]:
    return PALETTE[int(i) % len(PALETTE)]


def _line_width(canvas: NDArray[np.uint8]) -> int:
    height, width = canvas.shape[:2]
    return max(2, int(max(height, width)) // 400)


def _tint(
    canvas: NDArray[np.uint8],
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    corner: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    """Puts the photo's pixels inside the mask (h, w) on the canvas, in the mask's colour. corner: of the mask.

    The colour is as bright as the photo, so that texture stays visible.
    """
    (x0, y0), (height, width) = corner, mask.shape
    box = slice(y0, y0 + height), slice(x0, x0 + width)
    part = image[box]
    brightness = np.linspace(0.45, 1.2, 256)[:, None, None]
    ramp = np.minimum(brightness * np.array(colour), 255).astype(np.uint8)
    coloured = cv2.applyColorMap(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), ramp)
    mixed = cv2.addWeighted(part, 1 - OPACITY, coloured, OPACITY, 0)
    np.copyto(canvas[box], mixed, where=mask[..., None])


def _draw_click(canvas: NDArray[np.uint8], x: float, y: float, label: int) -> None:
    """A disc: green with a plus for foreground, red with a minus for background."""
    radius = max(5.0, max(canvas.shape[:2]) / 75)
    arm, width = 0.55 * radius, max(1, round(radius / 4))
    centre = _fixed(x, y)
    cv2.circle(canvas, centre, _fixed(1.3 * radius, 0)[0], WHITE, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.circle(canvas, centre, _fixed(radius, 0)[0], CLICK_COLOURS[label], cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.line(canvas, _fixed(x - arm, y), _fixed(x + arm, y), WHITE, width, cv2.LINE_AA, _SHIFT)
    if label == FOREGROUND:
        cv2.line(canvas, _fixed(x, y - arm), _fixed(x, y + arm), WHITE, width, cv2.LINE_AA, _SHIFT)


def _fixed(x: float, y: float) -> tuple[int, int]:
    return round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))
