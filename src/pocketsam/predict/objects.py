"""The prompt of one object, as command lines and prompt files give it: clicks, a box, a mask, and a class name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.errors import InputError
from pocketsam.predict.formats.result import DEFAULT_NAME


@dataclass(frozen=True)
class ObjectPrompt:
    """Where one object is, in pixels of its photo.

    points: (x, y) of its clicks. labels: for each, 1 if it lies on the object, 0 if it does not.
    box: x0, y0, x1, y1, or None. name: of its class.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    name: str = DEFAULT_NAME

    @classmethod
    def several(
        cls,
        points: Sequence[float],
        labels: Sequence[float],
        boxes: Sequence[float],
        name: str = DEFAULT_NAME,
    ) -> list["ObjectPrompt"]:
        """The objects that the numbers of points, of their labels and of boxes describe.

        All points are clicks on one object, whose box may be given too; without points, each box is an object.
        Raises InputError when the numbers are not such.
        """
        if len(points) % 2:
            raise InputError(f"points must be pairs X,Y, not {len(points)} numbers")
        if len(boxes) % 4:
            raise InputError(f"boxes must be X0,Y0,X1,Y1, not {len(boxes)} numbers")
        clicks = tuple(zip(points[::2], points[1::2], strict=True))
        corners = [(x0, y0, x1, y1) for x0, y0, x1, y1 in zip(*(boxes[i::4] for i in range(4)), strict=True)]
        for numbers in (*clicks, *corners):
            check_pixels(numbers)
        kinds = tuple(int(label) for label in labels) or (1,) * len(clicks)
        if len(kinds) != len(clicks) or any(label not in (0, 1) for label in (*labels, *kinds)):
            raise InputError(
                f"{len(clicks)} points need as many labels, each 1 (on the object) or 0 (not on it)"
            )
        if not clicks:
            return [cls(box=box, name=name) for box in corners]
        if len(corners) > 1:
            raise InputError("points belong to one object; give one box at most with them, or leave them out")
        return [cls(clicks, kinds, corners[0] if corners else None, name)]

    def __str__(self) -> str:
        parts = []
        if len(self.points) == 1:
            parts.append(f"the point {text(self.points[0])}")
        elif self.points:
            parts.append(f"{len(self.points)} points, of which the first is {text(self.points[0])}")
        if self.box is not None:
            parts.append(f"the box {text(self.box)}")
        where = " and ".join(parts) or "the mask"
        return where if self.name == DEFAULT_NAME else f"{self.name}: {where}"


def check_pixels(numbers: Sequence[float]) -> None:
    """Raises InputError when coordinates look like fractions of the photo."""
    if all(0 <= number <= 1 for number in numbers) and not all(
        float(number).is_integer() for number in numbers
    ):
        raise InputError(
            f"{text(numbers)} looks like fractions of the photo; coordinates are pixels, such as (120, 300)"
        )


def alike(objects: Sequence[ObjectPrompt]) -> list[list[int]]:
    """The numbers of the objects, in groups of those that have equally many points and a box, or none."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for i, one in enumerate(objects):
        groups.setdefault((len(one.points), one.box is not None), []).append(i)
    return list(groups.values())


def arguments(objects: Sequence[ObjectPrompt]) -> dict[str, Any]:
    """The arguments of `Photo.segment` for objects that are alike."""
    given: dict[str, Any] = {"names": [one.name for one in objects]}
    if objects[0].points:
        given |= {"points": [one.points for one in objects], "labels": [one.labels for one in objects]}
    if objects[0].box is not None:
        given["boxes"] = [one.box for one in objects]
    return given


def cut_boxes(
    objects: Iterable[ObjectPrompt], size: tuple[int, int]
) -> list[tuple[ObjectPrompt, NDArray[np.float64]]]:
    """The objects whose box reaches beyond a photo of `size` (H, W), each with what is left of the box."""
    height, width = size
    boxed = [
        (one, np.clip(one.box, 0, (width, height, width, height))) for one in objects if one.box is not None
    ]
    return [(one, box) for one, box in boxed if (box != one.box).any()]


def text(numbers: Iterable[float]) -> str:
    """Coordinates as they stand in messages: (120, 300)."""
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"
