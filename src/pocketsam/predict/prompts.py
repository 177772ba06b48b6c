"""What to segment: clicks, boxes and masks, checked once, here, and turned into tokens for the decoder.

One call holds the prompts of N objects. An object may have points, a box, a mask, or any mix of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.config import BACKGROUND, BOX_END, BOX_START, FOREGROUND, PADDING
from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.utils.boxes import pixels_near


@dataclass(frozen=True, eq=False)
class Prompts:
    """The checked prompts of N objects; build them with `Prompts.of`.

    points: (N, P, 2) float32, (x, y) in photo pixels; P may be 0.
    labels: (N, P) int32: 1 foreground, 0 background, -1 padding.
    boxes: (N, 4) float32 XYXY in photo pixels, or None; after `join`, NaN for an object without a box.
    mask_input: (N, h, w) float32 low-resolution logits, or None.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32] | None
    mask_input: NDArray[np.float32] | None

    @classmethod
    def of(
        cls,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        *,
        photo_size: tuple[int, int],
    ) -> "Prompts":
        """Prompts on a photo of `photo_size` (height, width).

        points: (2,) one click; (P, 2) the clicks on one object; (N, P, 2) those on N objects.
        labels: as points without the last axis; all foreground when not given.
        boxes: (4,) or (N, 4) XYXY; the part outside the photo is cut off.
        mask_input: logits (h, w), (N, h, w) or (N, 1, h, w), such as `masks.logits`.
        Raises InputError when nothing is given, when the parts disagree on N, or when a value makes no sense
        on this photo.
        """
        clicks, kinds = _check_points(points, labels, photo_size)
        checked_boxes = None if boxes is None else _check_boxes(boxes, photo_size)
        logits = None if mask_input is None else _check_mask_input(mask_input)

        given = {"points": clicks, "boxes": checked_boxes, "mask_input": logits}
        counts = {name: len(values) for name, values in given.items() if values is not None}
        if not counts:
            raise InputError("there is no prompt: give points, a box or a mask")
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} for {n}" for name, n in counts.items())
            raise InputError(
                f"the prompts disagree on the number of objects: {listed}; give each object its own"
            )

        n = next(iter(counts.values()))
        if clicks is None or kinds is None:
            clicks, kinds = np.zeros((n, 0, 2), np.float32), np.zeros((n, 0), np.int32)
        if checked_boxes is None and logits is None and (kinds == PADDING).all(axis=1).any():
            raise InputError("an object has only padding points (label -1): give it a click, a box or a mask")
        if checked_boxes is None and logits is None and not (kinds == FOREGROUND).any(axis=1).all():
            raise InputError(
                "an object has only background points (label 0), which say what it is not: add a foreground point, a"
                " box, or its earlier mask (mask_input)"
            )
        return cls(clicks, kinds, checked_boxes, logits)

    @classmethod
    def join(cls, parts: Sequence["Prompts"]) -> "Prompts":
        """The prompts of all `parts`, for an overlay; masks are left out, and no tokens can be made of the result.

        Where parts differ in the number of points, padding fills up; where some have no boxes, NaN.
        """
        most = max(part.points.shape[1] for part in parts)
        missing = [most - part.points.shape[1] for part in parts]
        points = [
            np.pad(part.points, ((0, 0), (0, n), (0, 0))) for part, n in zip(parts, missing, strict=True)
        ]
        labels = [
            np.pad(part.labels, ((0, 0), (0, n)), constant_values=PADDING)
            for part, n in zip(parts, missing, strict=True)
        ]
        nowhere = np.full((1, 4), np.nan, np.float32)
        boxes = [nowhere.repeat(len(part), axis=0) if part.boxes is None else part.boxes for part in parts]
        boxed = any(part.boxes is not None for part in parts)
        return cls(
            np.concatenate(points), np.concatenate(labels), np.concatenate(boxes) if boxed else None, None
        )

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: slice | NDArray[np.intp]) -> "Prompts":
        boxes = None if self.boxes is None else self.boxes[index]
        mask_input = None if self.mask_input is None else self.mask_input[index]
        return Prompts(self.points[index], self.labels[index], boxes, mask_input)

    @property
    def ambiguous(self) -> NDArray[np.bool_]:
        """(N,) bool: whether the object has a single click, which may mean the whole, a part or a subpart."""
        if self.boxes is not None or self.mask_input is not None:
            return np.zeros(len(self), np.bool_)
        return np.asarray((self.labels != PADDING).sum(axis=1) == 1)

    @property
    def corrections(self) -> NDArray[np.bool_]:
        """(N,) bool: whether the prompt corrects an earlier mask by a background click."""
        if self.mask_input is None:
            return np.zeros(len(self), np.bool_)
        return np.asarray((self.labels == BACKGROUND).any(axis=1))

    def limits(self, i: int, margin: float, size: tuple[int, int]) -> tuple[slice, slice] | None:
        """The rows and columns of a photo of `size` (H, W) beyond which object i has no pixels.

        They are those of its box, enlarged by `margin`, a fraction of its sides. None where it has no box, or where
        a foreground point outside says that the box is too small.
        """
        if self.boxes is None or np.isnan(self.boxes[i]).any():
            return None
        limits = pixels_near(self.boxes[i], margin, size)
        for (x, y), label in zip(self.points[i], self.labels[i], strict=True):
            if label == FOREGROUND and not all(
                one.start <= at < one.stop for one, at in zip(limits, (y, x), strict=True)
            ):
                return None
        return limits

    def tokens(
        self, geometry: Geometry, pad_points_to: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Coordinates (N, P', 2) float32 in model pixels and labels (N, P') int32 for the prompt encoder.

        The points, then the box as two corners labelled 2 and 3. After points alone a padding point stands
        in the place of the box, as SAM was trained; or padding fills up to `pad_points_to` tokens, for EfficientSAM.
        """
        n = len(self)
        coordinates, kinds = geometry.to_model(self.points), self.labels
        if self.boxes is not None:
            corners = geometry.to_model(self.boxes.reshape(n, 2, 2))
            coordinates = np.concatenate([coordinates, corners], axis=1)
            kinds = np.concatenate([kinds, np.tile(np.array([BOX_START, BOX_END], np.int32), (n, 1))], axis=1)
        clicked_only = self.boxes is None and kinds.shape[1] > 0
        missing = max(0, pad_points_to - kinds.shape[1]) if pad_points_to else int(clicked_only)
        coordinates = np.pad(coordinates, ((0, 0), (0, missing), (0, 0)))
        return coordinates, np.pad(kinds, ((0, 0), (0, missing)), constant_values=PADDING)

    def mask_tokens(self, geometry: Geometry) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The mask input (N, 1, S/4, S/4) float32 and whether there is one, (N,) float32.

        Raises InputError when the given logits are not those of a model of this size.
        """
        n, side = len(self), geometry.low_resolution
        if self.mask_input is None:
            return np.zeros((n, 1, side, side), np.float32), np.zeros(n, np.float32)
        if self.mask_input.shape[1:] != (side, side):
            given = "×".join(map(str, self.mask_input.shape[1:]))
            raise InputError(
                f"mask_input is {given}, but this model takes logits of {side}×{side}: pass its masks.logits,"
                " or a mask of the photo through photo.geometry.mask_to_model"
            )
        return self.mask_input[:, None], np.ones(n, np.float32)


def _numbers(values: ArrayLike, name: str, shape: str) -> NDArray[np.float64]:
    """`values` as float64, all of them finite."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers of shape {shape}") from None
    if array.size == 0:
        raise InputError(f"{name} are empty: leave them out or give some")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite numbers, not NaN or infinite")
    return array


def _check_points(
    points: ArrayLike | None, labels: ArrayLike | None, photo_size: tuple[int, int]
) -> tuple[NDArray[np.float32] | None, NDArray[np.int32] | None]:
    if points is None:
        if labels is not None:
            raise InputError("labels are given without points: give the points they belong to")
        return None, None
    shape = "(2,), (P, 2) or (N, P, 2)"
    given = _numbers(points, "points", shape)
    if given.ndim not in (1, 2, 3) or given.shape[-1] != 2:
        raise InputError(f"points must have shape {shape}, not {given.shape}")
    clicks = given.reshape((1,) * (3 - given.ndim) + given.shape)
    kinds = _check_labels(labels, given.shape[:-1], clicks.shape[:2])

    height, width = photo_size
    outside = ((clicks < 0) | (clicks >= (width, height))).any(axis=2) & (kinds != PADDING)
    if outside.any():
        x, y = clicks[outside][0]
        raise InputError(
            f"the point {_text((x, y))} lies outside the photo of {width} × {height} pixels:"
            f" x goes from 0 to {width - 1}, y from 0 to {height - 1}"
        )
    return clicks.astype(np.float32), kinds


def _check_labels(
    labels: ArrayLike | None, given_shape: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    if labels is None:
        return np.full(shape, FOREGROUND, np.int32)
    kinds = _numbers(labels, "labels", str(given_shape))
    allowed = {given_shape, shape} | ({shape[1:]} if shape[0] == 1 else set())
    if kinds.shape not in allowed:
        raise InputError(
            f"labels have shape {kinds.shape}, but the points need one label each: {given_shape}"
        )
    if not np.isin(kinds, (FOREGROUND, BACKGROUND, PADDING)).all():
        raise InputError("labels must be 1 (foreground), 0 (background) or -1 (padding)")
    return kinds.reshape(shape).astype(np.int32)


def _check_boxes(boxes: ArrayLike, photo_size: tuple[int, int]) -> NDArray[np.float32]:
    given = _numbers(boxes, "boxes", "(4,) or (N, 4)")
    if given.ndim not in (1, 2) or given.shape[-1] != 4:
        raise InputError(f"boxes must have shape (4,) or (N, 4), not {given.shape}")
    checked = given.reshape(-1, 4)
    flat = (checked[:, 2:] <= checked[:, :2]).any(axis=1)
    if flat.any():
        raise InputError(
            f"the box {_text(checked[flat][0])} has no area: give X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1"
        )
    height, width = photo_size
    clipped = np.clip(checked, 0, (width, height, width, height))
    outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    if outside.any():
        raise InputError(
            f"the box {_text(checked[outside][0])} lies outside the photo of {width} × {height} pixels"
        )
    return clipped.astype(np.float32)


def _check_mask_input(mask_input: ArrayLike) -> NDArray[np.float32]:
    if getattr(mask_input, "dtype", None) == np.bool_:
        raise InputError(
            "mask_input takes logits: turn a mask into them with photo.geometry.mask_to_model(mask)"
        )
    given = _numbers(mask_input, "mask_input", "(h, w), (N, h, w) or (N, 1, h, w)")
    if given.ndim == 4 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim not in (2, 3):
        raise InputError(f"mask_input must have shape (h, w), (N, h, w) or (N, 1, h, w), not {given.shape}")
    return given.astype(np.float32).reshape(-1, given.shape[-2], given.shape[-1])


def _text(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
