"""Masks: what prompts give, one result for one object or for many.

A result keeps the decoder's low-resolution logits, which are small. Masks at the photo's resolution, boxes,
areas, COCO run lengths and polygons are made from them when they are first used.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pocketsam.errors import InputError
from pocketsam.predict.conversions import Conversions
from pocketsam.predict.formats.result import DEFAULT_NAME, photo_of
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.prompts import Prompts
from pocketsam.predict.refine import refine
from pocketsam.predict.regions import clean_logits
from pocketsam.utils.rle import RLE, areas, boxes, decode, encode

Pixel = TypeVar("Pixel", bound=np.generic)

Index: TypeAlias = int | slice | list[int] | NDArray[Any]


class Masks(Conversions):
    """N masks of one photo of H × W pixels. len(), indexing and slicing work as on a list and give Masks.

    logits: (N, h, w) float32 at low resolution, above 0 inside; they can be passed back as `mask_input`.
    predicted_iou: (N,) float32, the model's own estimate of each mask's quality.
    geometry: the photo's pixels against the model's.
    image: uint8 (H, W, 3) RGB, for overlays and cut-outs. file_name: the photo's, for COCO.
    objects: (N,) int, the prompted object each mask belongs to. prompts: those of the objects, drawn on overlays.
    names: N class names, for files; "object" for each when not given.
    scores: (N,) float32, a detector's score of each mask's object, where a detector found the objects.
    rle: N run lengths of the masks at the photo's resolution; None, for one or for all, for those of the logits.
    box_margin: the masks of boxes have no pixels outside these, enlarged by this fraction of their sides; None keeps
    all.
    smallest_region: holes and islands of fewer cells of the logits than this are not part of the masks; 0 keeps all.
    """

    def __init__(
        self,
        logits: NDArray[np.float32],
        predicted_iou: NDArray[np.float32],
        geometry: Geometry,
        image: NDArray[np.uint8] | None = None,
        file_name: str = "photo",
        objects: NDArray[np.intp] | None = None,
        prompts: Prompts | None = None,
        names: Sequence[str] | None = None,
        rle: Sequence[RLE | None] | None = None,
        smallest_region: float = 0.0,
        scores: NDArray[np.float32] | None = None,
        box_margin: float | None = None,
    ) -> None:
        self.logits = logits
        self.predicted_iou = predicted_iou
        self.geometry = geometry
        self.image = image
        self.file_name = file_name
        self.objects = np.arange(len(logits)) if objects is None else objects
        self.prompts = prompts
        self.names = (DEFAULT_NAME,) * len(logits) if names is None else tuple(names)
        self.smallest_region = smallest_region
        self.scores = scores
        self.box_margin = box_margin
        self._rle = [None] * len(logits) if rle is None else list(rle)

    @classmethod
    def join(cls, parts: Sequence["Masks"], order: Sequence[int] | None = None) -> "Masks":
        """The masks of all `parts`, which are of one photo and one model.

        order: the number that each object gets, counted through the parts; their own order when not given. The masks
        are sorted by it.
        """
        counts = [part._object_count for part in parts]
        starts = np.cumsum([0, *counts[:-1]])
        numbers = np.arange(sum(counts)) if order is None else np.asarray(order, np.intp)
        moved = zip(parts, starts, strict=True)
        prompts = [part.prompts for part in parts if part.prompts is not None]
        joined = parts[0]._with(
            logits=np.concatenate([part.logits for part in parts]),
            predicted_iou=np.concatenate([part.predicted_iou for part in parts]),
            objects=np.concatenate([numbers[part.objects + start] for part, start in moved]),
            prompts=Prompts.join(prompts)[np.argsort(numbers)] if len(prompts) == len(parts) else None,
            names=[name for part in parts for name in part.names],
            rle=[rle for part in parts for rle in part._rle],
        )
        return joined[np.argsort(joined.objects, kind="stable")]

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, index: Index) -> "Masks":
        kept = np.atleast_1d(np.arange(len(self))[index])
        return self._with(
            logits=self.logits[kept],
            predicted_iou=self.predicted_iou[kept],
            objects=self.objects[kept],
            names=[self.names[i] for i in kept],
            scores=None if self.scores is None else self.scores[kept],
            rle=[self._rle[i] for i in kept],
        )

    def __iter__(self) -> Iterator["Masks"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        iou = ", ".join(f"{value:.2f}" for value in self.predicted_iou)
        size = f"{self.geometry.width} × {self.geometry.height}"
        return f"Masks({len(self)} of {self.file_name}, {size}, predicted IoU {iou})"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        return self.geometry.height, self.geometry.width

    @cached_property
    def binary(self) -> NDArray[np.bool_]:
        """(N, H, W) bool at the photo's resolution."""
        return np.array([self._binary(i) for i in range(len(self))], np.bool_).reshape(-1, *self.size)

    def _binary(self, i: int) -> NDArray[np.bool_]:
        if "binary" in self.__dict__:
            return np.asarray(self.binary[i])
        if (given := self._rle[i]) is not None:
            return decode(given)
        return self.within_box(i, self.geometry.logits_to_photo(self._cleaned(i)) > 0)

    def within_box(self, i: int, pixels: NDArray[Pixel]) -> NDArray[Pixel]:
        """Pixels (H, W) of mask i, such as its alpha, with 0 beyond the box that it ends at, if there is one."""
        limits = self._limits(i)
        if limits is None:
            return pixels
        limited = np.zeros_like(pixels)
        limited[limits] = pixels[limits]
        return limited

    def _limits(self, i: int) -> tuple[slice, slice] | None:
        """The rows and columns that mask i ends at, where it is that of a box."""
        if self.box_margin is None or self.prompts is None:
            return None
        return self.prompts.limits(int(self.objects[i]), self.box_margin, self.size)

    def ends_at_box(self, i: int) -> bool:
        """Whether mask i has no pixels beyond the box of its prompt, whatever its logits say."""
        return self._limits(i) is not None

    def _cleaned(self, i: int) -> NDArray[np.float32]:
        return clean_logits(self.logits[i], self.smallest_region)

    @cached_property
    def rle(self) -> list[RLE]:
        """N COCO run-length encodings: {"size": [H, W], "counts": str}."""
        # One mask at a time: all of them at the resolution of a large photo may not fit into memory.
        return [given or encode(self._binary(i)) for i, given in enumerate(self._rle)]

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """(N,) int64, in photo pixels."""
        return areas(self.rle)

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32 XYXY, the pixels' edges: x1 is the last column plus one. Zeros for an empty mask."""
        return boxes(self.rle)

    def refined(self) -> "Masks":
        """These masks with outlines that follow the edges in the photo: see `refine`. Logits and predicted IoU stay.

        Masks of a second look, and those that are refined already, stay as they are.
        Raises InputError when the masks were made without the photo.
        """
        photo = photo_of(self.image, self.file_name)
        return self._with(rle=[given or self._refined(i, photo) for i, given in enumerate(self._rle)])

    def _refined(self, i: int, photo: NDArray[np.uint8]) -> RLE:
        rle = refine(self._cleaned(i), photo, self.geometry)
        return encode(self.within_box(i, decode(rle))) if self.ends_at_box(i) else rle

    def named(self, names: Sequence[str]) -> "Masks":
        """These masks with a class name for each prompted object. Raises InputError for another number of names."""
        count = self._object_count
        if isinstance(names, str) or len(names) != count:
            given = "one string" if isinstance(names, str) else str(len(names))
            raise InputError(f"names must be a list of {count} class names, one for each object, not {given}")
        return self._with(names=[names[i] for i in self.objects])

    def scored(self, scores: NDArray[np.float32]) -> "Masks":
        """These masks with a detector's score for each prompted object, (objects,)."""
        return self._with(scores=np.asarray(scores, np.float32)[self.objects])

    def with_logits(self, logits: NDArray[np.float32], predicted_iou: NDArray[np.float32]) -> "Masks":
        """These masks with other logits (N, h, w), and predicted IoU (N,)."""
        return self._with(logits=logits, predicted_iou=predicted_iou, rle=None)

    def replaced(self, others: Mapping[int, tuple[RLE, float]]) -> "Masks":
        """These masks with other run lengths and predicted IoU for those of some numbers. The logits stay."""
        predicted_iou, rle = self.predicted_iou.copy(), list(self._rle)
        for i, other in others.items():
            rle[i], predicted_iou[i] = other
        return self._with(predicted_iou=predicted_iou, rle=rle)

    @property
    def _object_count(self) -> int:
        return int(self.objects.max(initial=-1)) + 1 if self.prompts is None else len(self.prompts)

    def _with(self, **changes: Any) -> "Masks":
        """These masks with other values of some arguments of the constructor."""
        fields: dict[str, Any] = {
            "logits": self.logits,
            "predicted_iou": self.predicted_iou,
            "geometry": self.geometry,
            "image": self.image,
            "file_name": self.file_name,
            "objects": self.objects,
            "prompts": self.prompts,
            "names": self.names,
            "rle": self._rle,
            "smallest_region": self.smallest_region,
            "scores": self.scores,
            "box_margin": self.box_margin,
        }
        return Masks(**fields | changes)

    def overlay(self) -> NDArray[np.uint8]:
        """The photo uint8 (H, W, 3) with the masks and their prompts drawn on it.

        Raises InputError when the masks were made without the photo.
        """
        from pocketsam.predict.drawing import draw_masks, draw_prompts, draw_words  # masks start without them

        canvas = draw_masks(photo_of(self.image, self.file_name), self.rle)
        if self.prompts is not None:
            objects, first_masks = np.unique(self.objects, return_index=True)
            draw_prompts(canvas, self.prompts[objects], first_masks)
        if self.scores is not None:
            words = [f"{name} {score:.2f}" for name, score in zip(self.names, self.scores, strict=True)]
            draw_words(canvas, self.boxes, words)
        return canvas

    def details(self) -> list[dict[str, Any]]:
        """What files say of each mask beside its pixels, name and predicted IoU: the number of its object, and the
        score of the detector that found it, if one did."""
        if self.scores is None:
            return [{"object": int(number)} for number in self.objects]
        return [
            {"object": int(number), "detector_score": round(float(score), 4)}
            for number, score in zip(self.objects, self.scores, strict=True)
        ]
