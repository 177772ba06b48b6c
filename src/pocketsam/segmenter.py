"""The story: open a photo once, then ask for masks as often as you like.

segmenter = Segmenter()
photo = segmenter.open("photo.jpg")
masks = photo.segment(points=[(120, 300)])
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.description import Description
from pocketsam.embedding import Embedding, check_photo, load_embedding, photo_mark
from pocketsam.engines import Engine, open_engine
from pocketsam.errors import InputError
from pocketsam.masks import Masks
from pocketsam.photo import Source, load_image, preprocess, source_name
from pocketsam.prompts import Prompts
from pocketsam.zoo import locate


class Segmenter:
    """A model that is ready to open photos.

    model: a name ("pocket" is the model inside the package), a folder that holds one, or a checkpoint file.
    engine: "auto", "onnx", "openvino" or "torch"; or an `Engine` of your own, for which only `batch` counts.
    device: "auto", "cpu", "cuda" or "mps". precision: "float32", "bfloat16" or "float16".
    threads: how many CPU threads to use; all cores of this process when not given.
    batch: how many prompts the decoder takes at a time, which bounds the memory of a call with many.
    compile: whether PyTorch compiles the model first.
    Raises ModelError when the model or the engine is unknown or cannot be used.
    """

    def __init__(
        self,
        model: str | Path = "pocket",
        engine: str | Engine = "auto",
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        batch: int = 64,
        compile: bool = False,
    ) -> None:
        if batch < 1:
            raise InputError(f"batch is {batch}, but the decoder takes at least 1 prompt at a time")
        self.batch = batch
        if not isinstance(engine, str):
            self.engine = engine
            return
        source, description = locate(model)
        self.engine = open_engine(
            source,
            engine,
            device=device,
            precision=precision,
            threads=threads,
            compile=compile,
            description=description,
        )

    def open(self, source: Source | None = None, embedding: str | Path | None = None) -> "Photo":
        """A photo that answers prompts: `source` is read (see `load_image`) and encoded, once.

        embedding: a file that `Photo.save_embedding` wrote. With the photo it saves the encoding; alone, it stands
        for the photo, but for its pixels.
        Raises InputError when either cannot be read, or the embedding is of another photo or another model.
        """
        image = None if source is None else load_image(source)
        name = "" if source is None else source_name(source)
        if embedding is None:
            return Photo(self.engine, image, name, batch=self.batch)
        path = Path(embedding)
        saved = load_embedding(path, self.engine.description)
        if image is not None:
            check_photo(path, saved, image, name)
        return Photo(self.engine, image, name or saved.name, saved, self.batch)


class Photo:
    """An encoded photo that answers prompts.

    image: uint8 (H, W, 3) RGB, upright; None where only its embedding was opened, and nothing can be drawn on it.
    geometry: its pixels against the model's.
    embedding: float32 (1, 256, S/16, S/16), what the encoder made of it.
    """

    def __init__(
        self,
        engine: Engine,
        image: NDArray[np.uint8] | None,
        name: str,
        saved: Embedding | None = None,
        batch: int = 64,
    ) -> None:
        description = engine.description
        self.image = image
        self.name = name
        self._engine, self._saved, self._batch = engine, saved, batch
        if saved is not None:
            self.geometry = description.geometry(saved.height, saved.width)
            self.embedding = saved.values
        elif image is not None:
            self.geometry = description.geometry(*image.shape[:2])
            self.embedding = engine.encode(preprocess(image, description))
        else:
            raise InputError("there is no photo: give one, or the embedding of one, or both")

    def save_embedding(self, path: str | Path) -> Path:
        """Write the embedding to a .npz file, for `Segmenter.open`, and return its path.

        Raises InputError when it cannot be written; a former file then stays as it is.
        """
        path = Path(path)
        size = self.geometry.height, self.geometry.width
        name = Path(self.name).name
        Embedding(self.embedding, *size, name, self._mark, self._engine.description).save(path)
        return path

    @cached_property
    def _mark(self) -> str:
        """By which an embedding knows its photo."""
        if self._saved is not None:
            return self._saved.photo
        assert self.image is not None
        return photo_mark(self.image)

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
        description = self._engine.description
        if mask_input is not None and not description.takes_masks:
            raise InputError(f"{description.name} takes no mask as a prompt; give it points or a box")
        size = self.geometry.height, self.geometry.width
        prompts = Prompts.of(points, labels, boxes, mask_input, photo_size=size)
        tokens = prompts.tokens(self.geometry, description.pad_points_to)
        logits, predicted_iou = self._decode(*tokens, *prompts.mask_tokens(self.geometry))
        chosen = (
            rank(predicted_iou, description.click_masks)
            if all_masks
            else choose(predicted_iou, prompts.ambiguous, description)[:, None]
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
        starts = range(0, len(prompts[0]), self._batch)
        batches = ([values[i : i + self._batch] for values in prompts] for i in starts)
        answers = [self._engine.decode(self.embedding, *batch) for batch in batches]
        logits, predicted_iou = zip(*answers, strict=True)
        return np.concatenate(logits), np.concatenate(predicted_iou)


def choose(
    predicted_iou: NDArray[np.float32], ambiguous: NDArray[np.bool_], description: Description
) -> NDArray[np.intp]:
    """SAM's rule for one mask an object: which of the four, (N,), given predicted IoU (N, 4), ambiguous (N,).

    The most confident of the masks that the prompt may mean: `click_masks` for a lone click, which is
    ambiguous, and `prompt_masks`, in SAM mask 0 alone, for anything else.
    """
    clicks, others = np.array(description.click_masks), np.array(description.prompt_masks)
    best_of_clicks = clicks[predicted_iou[:, clicks].argmax(axis=1)]
    best_of_others = others[predicted_iou[:, others].argmax(axis=1)]
    return np.asarray(np.where(ambiguous, best_of_clicks, best_of_others))


def rank(predicted_iou: NDArray[np.float32], click_masks: Sequence[int]) -> NDArray[np.intp]:
    """The three most confident of `click_masks` for each object, (N, 3), best first; predicted IoU (N, 4)."""
    allowed = np.array(click_masks)
    return np.asarray(allowed[np.argsort(-predicted_iou[:, allowed], axis=1, kind="stable")][:, :3])
