"""The story: open a photo once, then ask for masks as often as you like.

segmenter = Segmenter()
photo = segmenter.open("photo.jpg")
masks = photo.segment(points=[(120, 300)])
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.engines import Engine, open_engine
from pocketsam.geometry import Geometry
from pocketsam.masks import Masks
from pocketsam.photo import Source, load_image, preprocess, source_name
from pocketsam.prompts import Prompts
from pocketsam.zoo import locate

# Bounds the memory of a call with many prompts; beyond this, a larger batch is no faster.
PROMPTS_PER_BATCH = 64


class Segmenter:
    """A model that is ready to open photos.

    model: a name ("pocket" is the model inside the package) or a folder that holds one.
    engine: "auto", "onnx" or "torch"; or an `Engine` of your own, which needs no `model` and no `threads`.
    threads: how many CPU threads to use; all cores of this process when not given.
    Raises ModelError when the model or the engine is unknown or cannot be used.
    """

    def __init__(
        self, model: str | Path = "pocket", engine: str | Engine = "auto", threads: int | None = None
    ) -> None:
        self.engine = open_engine(locate(model), engine, threads) if isinstance(engine, str) else engine

    def open(self, source: Source) -> "Photo":
        """Reads a photo (see `load_image`) and encodes it, once. Raises InputError when it cannot be read."""
        return Photo(self.engine, load_image(source), source_name(source))


class Photo:
    """An encoded photo that answers prompts.

    image: uint8 (H, W, 3) RGB, upright. geometry: its pixels against the model's.
    embedding: float32 (1, 256, S/16, S/16), what the encoder made of it.
    """

    def __init__(self, engine: Engine, image: NDArray[np.uint8], name: str) -> None:
        description = engine.description
        self.image = image
        self.name = name
        self.geometry = Geometry(image.shape[0], image.shape[1], description.image_size, description.resize)
        self.embedding = engine.encode(preprocess(image, description))
        self._engine = engine
        self._click_masks = description.click_masks

    def segment(
        self,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        all_masks: bool = False,
    ) -> Masks:
        """The masks of the N objects that the prompts ask for, in the prompts' order.

        points: (x, y) in photo pixels: (2,) one click, (P, 2) clicks on one object, (N, P, 2) on N objects.
        labels: 1 foreground (the default), 0 background, -1 padding; as points without the last axis.
        boxes: (4,) or (N, 4) XYXY in photo pixels.
        mask_input: logits of an earlier answer (`masks.logits`), or of `photo.geometry.mask_to_model(mask)`.
        all_masks: not one mask an object but the three readings of an ambiguous prompt, most confident first.
        Raises InputError when the prompts make no sense on this photo.
        """
        prompts = Prompts.of(points, labels, boxes, mask_input, photo_size=self.image.shape[:2])
        logits, predicted_iou = self._decode(
            *prompts.tokens(self.geometry), *prompts.mask_tokens(self.geometry)
        )
        chosen = (
            rank(predicted_iou, self._click_masks)
            if all_masks
            else choose(predicted_iou, prompts.ambiguous, self._click_masks)[:, None]
        )
        objects = np.repeat(np.arange(len(prompts)), chosen.shape[1])
        flat = objects, chosen.ravel()
        return Masks(
            logits=logits[flat],
            predicted_iou=predicted_iou[flat],
            geometry=self.geometry,
            image=self.image,
            file_name=Path(self.name).name,
            objects=objects,
            prompts=prompts,
        )

    def _decode(self, *prompts: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The engine's answer to the prompts of any number of objects, batch by batch."""
        starts = range(0, len(prompts[0]), PROMPTS_PER_BATCH)
        batches = ([values[i : i + PROMPTS_PER_BATCH] for values in prompts] for i in starts)
        answers = [self._engine.decode(self.embedding, *batch) for batch in batches]
        logits, predicted_iou = zip(*answers, strict=True)
        return np.concatenate(logits), np.concatenate(predicted_iou)


def choose(
    predicted_iou: NDArray[np.float32], ambiguous: NDArray[np.bool_], click_masks: Sequence[int]
) -> NDArray[np.intp]:
    """SAM's rule for one mask an object: which of the four, (N,), given predicted IoU (N, 4), ambiguous (N,).

    A lone click is ambiguous and gets the most confident of `click_masks`; anything else gets mask 0.
    """
    allowed = np.array(click_masks)
    return np.where(ambiguous, allowed[predicted_iou[:, allowed].argmax(axis=1)], 0)


def rank(predicted_iou: NDArray[np.float32], click_masks: Sequence[int]) -> NDArray[np.intp]:
    """The three most confident of `click_masks` for each object, (N, 3), best first; predicted IoU (N, 4)."""
    allowed = np.array(click_masks)
    return np.asarray(allowed[np.argsort(-predicted_iou[:, allowed], axis=1, kind="stable")][:, :3])
