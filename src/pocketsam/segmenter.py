"""The API: open a photo once, then segment it any number of times.

segmenter = Segmenter()
photo = segmenter.open("photo.jpg")
masks = photo.segment(points=[(120, 300)])
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.engines import Engine, PreparedImage, decode
from pocketsam.errors import InputError
from pocketsam.predict.candidates import Candidates
from pocketsam.predict.embedding import Embedding, check_photo, load_embedding, photo_mark
from pocketsam.predict.formats.result import photo_of
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import Source, load_image, preprocess, source_name
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt, alike, arguments
from pocketsam.predict.prompts import Prompts
from pocketsam.predict.zoom import Window, averaged, in_photo, prompt_in, windows
from pocketsam.utils.files import as_text
from pocketsam.utils.rle import RLE
from pocketsam.zoo import open_engine_of

if TYPE_CHECKING:
    from pocketsam.automatic.generator import Report
    from pocketsam.automatic.proposals import Proposals


class Segmenter:
    """A model that is ready to open photos.

    model: a name ("pocket" is the model inside the package), a folder that holds one, or a checkpoint file.
    engine: "auto", "onnx", "openvino" or "torch"; or an `Engine` of your own, with which only `batch` is used.
    device: "auto", "cpu", "cuda" or "mps". precision: "float32", "bfloat16", "float16" or "int8";
    "auto" is "int8" where the model has it and the processor computes it faster, else "float32".
    threads: how many CPU threads to use; all cores of this process when not given.
    batch: how many prompts the decoder takes at a time; fewer need less memory.
    compile: whether PyTorch compiles the model first.
    one_image: whether it will open a single photo: "auto" then counts the time that loading the model takes.
    Raises ModelError when the model or the engine is unknown or cannot be used, InputError when threads or batch is
    not a whole number of at least 1.
    """

    def __init__(
        self,
        model: str | Path = "pocket",
        engine: str | Engine = "auto",
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        batch: int = 64,
        compile: bool = False,
        one_image: bool = False,
    ) -> None:
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise InputError(f"batch is {batch!r}, but the decoder takes at least 1 prompt at a time")
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise InputError(f"threads is {threads!r}; give a whole number from 1 on, or None for all cores")
        self.batch = batch
        if not isinstance(engine, str):
            self.engine = engine
            return
        self.engine = open_engine_of(
            model,
            engine,
            device=device,
            precision=precision,
            threads=threads,
            compile=compile,
            one_image=one_image,
        )

    def open(self, source: Source | None = None, embedding: str | Path | None = None) -> "Photo":
        """The photo in `source`, read and encoded, ready to be segmented.

        source: a path, the bytes of a file, an open file, a PIL image, or an array: see `load_image`.
        embedding: a file that `Photo.save_embedding` wrote. Given with the photo, the encoder need not run. Given
        alone, it replaces the photo; overlays, cut-outs and refined outlines, which need its pixels, cannot be made.
        Raises InputError when either cannot be read, or the embedding is of another photo or another model.
        """
        image = None if source is None else load_image(source)
        name = "" if source is None else source_name(source)
        if embedding is None:
            return Photo(self.engine, image, name, batch=self.batch)
        path = Path(embedding)
        saved = load_embedding(path, self.engine.config)
        if image is not None:
            check_photo(path, saved, image, name)
        return Photo(self.engine, image, name or saved.name, saved, self.batch)


class Photo:
    """An encoded photo, ready to be segmented.

    image: uint8 (H, W, 3) RGB, upright; None where only its embedding was opened, so that there are no overlays.
    config: what its model expects. geometry: converts between its pixels and the model's.
    embedding: float32 (1, C, S/16, S/16), the encoder's output; C is 256 or more.
    """

    def __init__(
        self,
        engine: Engine,
        image: NDArray[np.uint8] | None,
        name: str,
        saved: Embedding | None = None,
        batch: int = 64,
    ) -> None:
        config = self.config = engine.config
        self.image = image
        self.name = as_text(name)
        self._engine, self._saved, self._batch = engine, saved, batch
        if saved is not None:
            self.geometry = Geometry.of(config, saved.height, saved.width)
            self.embedding = saved.values
        elif image is not None:
            self.geometry = Geometry.of(config, *image.shape[:2])
            self.embedding = engine.encode(preprocess(image, config))
        else:
            raise InputError("there is no photo: give one, or the embedding of one, or both")

    @cached_property
    def _prepared(self) -> PreparedImage:
        """The part of the computation that is the same for all prompts, done once for each photo."""
        return self._engine.prepare(self.embedding)

    def save_embedding(self, path: str | Path) -> Path:
        """Write the embedding to a .npz file, for `Segmenter.open`, and return its path.

        Raises InputError when it cannot be written; a former file then stays as it is.
        """
        path = Path(path)
        self._saved_as.save(path)
        return path

    def embedding_file(self, file_name: str | Path) -> bytes:
        """The content of the file that `save_embedding` writes.

        Raises InputError, which begins with `file_name`, for an embedding with numbers beyond float16.
        """
        return self._saved_as.encode(file_name)

    @property
    def _saved_as(self) -> Embedding:
        size = self.geometry.height, self.geometry.width
        name = Path(self.name).name
        return Embedding(self.embedding, *size, name, self._mark, self._engine.config)

    @cached_property
    def _mark(self) -> str:
        """A digest of the photo, stored with its embedding."""
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
        multimask: bool = False,
        refine: bool = False,
        zoom: bool = False,
        names: Sequence[str] | None = None,
    ) -> Masks:
        """The masks of N objects, one mask for each object, in the order of the prompts.

        An object is given by points, a box or a mask, or by several of these together. What is given must be given
        for all N objects; `segment_objects` takes objects that are given in different ways.

        points: (x, y) in pixels of the photo. Shape (2,): a click on one object. (P, 2): P clicks on one object.
            (N, P, 2): P clicks on each of N objects.
        labels: for each point, 1 if it lies on the object (the default), 0 if it does not, -1 to ignore it. Its shape
            is that of `points` without the last axis.
        boxes: x0, y0, x1, y1 in pixels of the photo, shape (4,) or (N, 4). The part of a box outside the photo is cut
            off; `masks.prompts.boxes` are the boxes that were used.
        mask_input: the logits of earlier masks (`masks.logits`), or `photo.geometry.mask_to_model(mask)`; shape
            (h, w), (N, h, w) or (N, 1, h, w).
        multimask: give three masks for each object instead of one, the most confident first. A click may mean
            a whole object, a part, or a part of that.
        refine: whether to move the outlines to the edges in the photo; see `Masks.refined`.
        zoom: whether to look at small objects a second time, see `zoomed`; not with `multimask`.
        names: N class names, which are written to files; "object" for each when not given.
        Raises InputError when a prompt does not fit the photo, the prompts are of different numbers of objects, or
        `refine` or `zoom` is set and only the photo's embedding was opened.
        """
        if multimask and zoom:
            raise InputError("zoom gives one mask for each object, multimask three; leave out one of the two")
        candidates = self.candidates(points, labels, boxes, mask_input)
        masks = candidates.ranked() if multimask else candidates.best()
        if names is not None:
            masks = masks.named(names)
        if zoom:
            return self.zoomed(masks, refine)
        return masks.refined() if refine else masks

    def segment_objects(
        self,
        objects: Sequence[ObjectPrompt],
        multimask: bool = False,
        refine: bool = False,
        zoom: bool = False,
    ) -> Masks:
        """The masks of objects of which some are clicked on, some are in a box, and some have names; in their order.

        multimask, refine, zoom: as in `segment`. Raises InputError as `segment` does, and when there is no object.
        """
        if not objects:
            raise InputError("there is no object; give an ObjectPrompt for each")
        groups = alike(objects)
        by_group = [arguments([objects[i] for i in group]) for group in groups]
        parts = [self.segment(**given, multimask=multimask, refine=refine, zoom=zoom) for given in by_group]
        return Masks.join(parts, [i for group in groups for i in group])

    def zoomed(self, masks: Masks, refine: bool = False) -> Masks:
        """The masks after a second look at those that are small, in a window around each: see `predict/zoom.py`.

        masks: one for each prompted object of this photo, as `segment` gives them; their logits stay.
        refine: whether to move the outlines of all masks to the edges in the photo.
        The encoder runs once more for each small object. Large objects, and corrections of an earlier mask, are not
        looked at again; nor are objects that were not found by their clicks.
        Raises InputError for other masks, and when only the photo's embedding was opened.
        """
        image = photo_of(self.image, self.name)
        if masks.size != image.shape[:2]:
            raise InputError(f"{masks.file_name}: these masks are of another photo than {self.name}")
        looks = {i: self._look(masks, i, window, refine) for i, window in windows(masks).items()}
        found = masks.replaced({i: look for i, look in looks.items() if look is not None})
        return found.refined() if refine else found

    def _look(self, masks: Masks, i: int, window: Window, refine: bool) -> tuple[RLE, float] | None:
        """The run lengths and the predicted IoU of mask i by both looks; None where they find nothing together."""
        assert self.image is not None
        x0, y0, x1, y1 = window
        part = Photo(
            self._engine, np.ascontiguousarray(self.image[y0:y1, x0:x1]), self.name, batch=self._batch
        )
        candidates = part.candidates(**prompt_in(window, masks, i, part.geometry))
        both = averaged(window, masks, i, candidates.best())
        if both.empty[0]:
            return None
        rle = in_photo(window, both.refined() if refine else both, masks.size)
        return rle, float(both.predicted_iou[0])

    def candidates(
        self,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
    ) -> Candidates:
        """All four masks that the decoder computes for each object, for programs that choose by a rule of their own.

        The arguments, and the errors, are those of `segment`.
        """
        config = self._engine.config
        if mask_input is not None and not config.takes_masks:
            raise InputError(f"{config.name} takes no mask as a prompt; give it points or a box")
        size = self.geometry.height, self.geometry.width
        prompts = Prompts.of(points, labels, boxes, mask_input, photo_size=size)
        tokens = prompts.tokens(self.geometry, config.pad_points_to)
        logits, predicted_iou = self._decode(*tokens, *prompts.mask_tokens(self.geometry))
        name = Path(self.name).name
        return Candidates(logits, predicted_iou, prompts, self.geometry, config, self.image, name)

    def everything(self, report: "Report" = lambda fraction: None, **options: Any) -> "Proposals":
        """The masks of all objects in the photo, without a prompt.

        report: gets the fraction that is done, from 0 to 1, as the work goes on; what it raises ends the work.
        options: the fields of `automatic.options.Options`.
        Raises InputError when an option is unknown or outside its range, or only the photo's embedding was opened.
        """
        from pocketsam.automatic.generator import segment_everything
        from pocketsam.automatic.options import Options

        if self.image is None:
            raise InputError(
                f"{self.name}: everything mode needs the photo; open it, with its embedding if you like"
            )
        found = segment_everything(self._engine, self.image, Options.of(**options), self._prepared, report)
        return replace(found, image=self.image, file_name=Path(self.name).name)

    def _decode(self, *prompts: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits and predicted IoU of the prompts of any number of objects, batch by batch."""
        decode_batch = partial(decode, self._engine, self.embedding, prepared=self._prepared)
        starts = range(0, len(prompts[0]), self._batch)
        decoded = [decode_batch(*(values[i : i + self._batch] for values in prompts)) for i in starts]
        logits, predicted_iou = zip(*decoded, strict=True)
        return np.concatenate(logits), np.concatenate(predicted_iou)
