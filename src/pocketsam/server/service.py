"""What the server can do with a photo, whatever the protocol: each method is a route's work."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
import numpy as np
from anyio.to_thread import run_sync
from numpy.typing import NDArray

from pocketsam.automatic.generator import Report
from pocketsam.errors import InputError
from pocketsam.predict.formats import format_of
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.server import annotations
from pocketsam.server.album import Album, Entry, OpenPhotos
from pocketsam.server.annotations import Annotations
from pocketsam.server.limits import Limits, RequestError
from pocketsam.server.messages import (
    Annotation,
    EverythingRequest,
    Mask,
    Masks,
    MasksRequest,
    Prompt,
    SavedAnnotation,
)
from pocketsam.server.turns import Turns

T = TypeVar("T")
LOADERS = 2
"""How many photos are decoded at the same time."""


class Service:
    """A model, the photos, and where annotations are saved.

    output: the folder of NAME.masks.json. Users are told apart by a text, such as their address.
    All methods raise InputError and RequestError for what a user can mend.
    """

    def __init__(
        self, segmenter: Segmenter, photos: Sequence[Path], output: Path, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.segmenter, self._output = segmenter, output
        self.album = Album(photos, self.limits)
        self._open_photos = OpenPhotos(self.limits.cache)
        # With two at once, a click need not wait for the end of everything mode.
        self._turns = Turns(2 if segmenter.engine.info.thread_safe else 1, self.limits)
        self._loaders = anyio.CapacityLimiter(LOADERS)
        self._sizes: dict[str, tuple[int, int]] = {}
        self._digests: dict[str, tuple[tuple[int, ...], str]] = {}
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def add(self, name: str, content: bytes) -> Entry:
        """The entry of an uploaded photo."""
        return await run_sync(self.album.add, name, content, limiter=self._loaders)

    async def open(self, id: str, user: str) -> Photo:
        """A photo, encoded now unless it was before."""
        photo = self._open_photos.get(id)
        return await self._run(id, user, lambda encoded: encoded) if photo is None else photo

    async def picture(self, id: str) -> bytes:
        """A JPEG of the photo as the model gets it: upright, on white; a PNG where JPEG is too small."""
        image = await self._pixels(id)
        return await run_sync(_picture, image)

    async def digest(self, id: str) -> str:
        """Of a photo's file, as it is now."""
        entry = self.album[id]
        mark, (known, digest) = entry.mark(), self._digests.get(id, (None, ""))
        if known != mark:
            digest = await run_sync(entry.digest, limiter=self._loaders)
            self._digests[id] = mark, digest
        if known not in (None, mark):  # the photo was replaced
            self._sizes.pop(id, None)
            self._open_photos.drop(id)
        return digest

    async def segment(self, id: str, request: MasksRequest, user: str) -> list[Mask]:
        """The masks of all prompts."""
        objects = [_prompt(one) for one in request.objects]
        options = {"multimask": request.multimask, "refine": request.refine, "zoom": request.zoom}
        masks = await self._run(
            id, user, lambda photo: photo.segment_objects(objects, **options), waits=not request.preview
        )
        return await run_sync(annotations.describe, masks, request.include)

    async def everything(
        self, id: str, request: EverythingRequest, user: str, report: Report = lambda fraction: None
    ) -> Masks:
        """The masks of all objects in the photo. report: see `automatic.generator.Report`."""
        options = request.model_dump(exclude_none=True)
        proposals = await self._run(id, user, lambda photo: photo.everything(report, **options))
        return Masks(masks=await run_sync(annotations.describe, proposals))

    async def embedding(self, id: str, user: str) -> tuple[str, bytes]:
        """The embedding of a photo as the file that `Photo.save_embedding` writes: its name and its content."""
        name = f"{self.album[id].stem}.npz"
        return name, await self._run(id, user, lambda photo: photo.embedding_file(name))

    async def saved(self, id: str) -> tuple[list[SavedAnnotation], str]:
        """The annotations of a photo that were saved, and their version."""
        size = await self._size(id)
        async with self._lock(f"save {id}"):
            objects = await self._read(id, size)
            version = await run_sync(annotations.version, self._file(id))
        return await run_sync(_outlined, objects), version

    async def save(self, id: str, objects: Sequence[Annotation], replaces: str | None = None) -> str:
        """Keep these annotations of a photo, and no others; gives their version.

        replaces: the version that they were made from. RequestError (412) when another is saved by now.
        """
        size = await self._size(id)
        await run_sync(annotations.check_run_lengths, objects, size)
        kept = Annotations(objects, size, self.album[id].name, photo=await self.digest(id))
        async with self._lock(f"save {id}"):
            await self._read(id, size)  # refuses to replace a file that is not ours
            if replaces not in (None, await run_sync(annotations.version, self._file(id))):
                raise RequestError(
                    412, "the annotations of this photo have changed meanwhile; get them, and save both"
                )
            await run_sync(annotations.save, self._file(id), kept)
            return await run_sync(annotations.version, self._file(id))

    async def export(self, id: str, suffix: str, user: str) -> tuple[str, bytes]:
        """The saved annotations as a file: its name and its content."""
        format, _ = format_of(f"masks{suffix}")
        saved = await self._saved(id)
        if format.needs == "logits" and saved.objects:
            saved = replace(saved, logits=await self._logits(id, saved, user))
        return await run_sync(annotations.export, saved, suffix)

    async def export_all(self, suffix: str) -> tuple[str, bytes]:
        """The saved annotations of all photos as a file: its name and its content."""
        annotated = [entry for entry in self.album if self._file(entry.id).exists()]
        if not annotated:
            raise InputError("no photo has annotations to export; make one first")
        needs_photo = format_of(f"masks{suffix}")[0].needs == "photo"
        photos = (self._annotated(entry, needs_photo) for entry in annotated)
        return await run_sync(annotations.export_all, photos, suffix, limiter=self._loaders)

    def _annotated(self, entry: Entry, with_photo: bool) -> Annotations:
        """The annotations of a photo by the names of its files, which no other photo shares."""
        image = entry.load(self.limits) if with_photo else None
        objects = annotations.read(self._file(entry.id), None, entry.digest())
        height, width = objects[0].rle.size if objects else entry.load(self.limits).shape[:2]
        name = f"{entry.stem}{Path(entry.name).suffix}"
        return Annotations(objects, (height, width), name, image)

    async def _logits(self, id: str, saved: Annotations, user: str) -> NDArray[np.float32]:
        """The logits of the saved objects, from their prompts."""
        if not saved.prompted:
            raise InputError(
                "logits exist only of objects that were clicked on or boxed; choose another format"
            )
        prompts = [Prompt(points=one.points, labels=one.labels, box=one.box) for one in saved.objects]
        objects = [_prompt(one) for one in prompts]
        masks = await self._run(id, user, lambda photo: photo.segment_objects(objects))
        return masks.logits

    async def _saved(self, id: str) -> Annotations:
        image = await self._pixels(id)
        height, width, _ = image.shape
        return Annotations(await self._read(id, (height, width)), (height, width), self.album[id].name, image)

    async def _read(self, id: str, size: tuple[int, int]) -> list[Annotation]:
        return await run_sync(annotations.read, self._file(id), size, await self.digest(id))

    async def _size(self, id: str) -> tuple[int, int]:
        """(H, W) of a photo, upright."""
        if id not in self._sizes:
            height, width, _ = (await self._pixels(id)).shape
            self._sizes[id] = height, width
        return self._sizes[id]

    async def _pixels(self, id: str) -> NDArray[np.uint8]:
        photo = self._open_photos.get(id)
        if photo is not None and photo.image is not None:
            return photo.image
        return await self._load(self.album[id])

    async def _load(self, entry: Entry) -> NDArray[np.uint8]:
        """The pixels of a photo, of which only a few are read at the same time, as each may take much memory."""
        return await run_sync(entry.load, self.limits, limiter=self._loaders)

    async def _run(self, id: str, user: str, work: Callable[[Photo], T], waits: bool = True) -> T:
        """Work on an encoded photo, done in a thread when it is the user's turn. waits: see `Turns.turn`.

        The photo is got within the turn, so that requests that wait keep no photo in memory.
        """
        entry = self.album[id]
        async with self._turns.turn(user, waits):
            return await run_sync(work, await self._encoded(entry))

    async def _encoded(self, entry: Entry) -> Photo:
        async with self._lock(f"open {entry.id}"):
            photo = self._open_photos.get(entry.id)
            if photo is None:
                image = await self._load(entry)
                photo = await run_sync(_opened, self.segmenter, image, entry.name)
                self._open_photos.put(entry.id, photo)
        return photo

    def _file(self, id: str) -> Path:
        return self._output / f"{self.album[id].stem}.masks.json"

    def _lock(self, what: str) -> anyio.Lock:
        return self._locks.setdefault(what, anyio.Lock())


def _opened(segmenter: Segmenter, image: NDArray[np.uint8], name: str) -> Photo:
    photo = segmenter.open(image)
    photo.name = name
    return photo


def _picture(image: NDArray[np.uint8]) -> bytes:
    return encode_image(image, ".jpg" if max(image.shape) < 65500 else ".png")


def _prompt(prompt: Prompt) -> ObjectPrompt:
    """Raises InputError when the labels are not as many as the points."""
    numbers = [number for point in prompt.points for number in point]
    objects = ObjectPrompt.several(numbers, prompt.labels, prompt.box or (), prompt.name)
    if not objects:
        raise InputError("an object has no prompt; give points, a box, or both")
    return objects[0]


def _outlined(objects: Sequence[Annotation]) -> list[SavedAnnotation]:
    return [
        SavedAnnotation(**one.model_dump(), polygons=annotations.outlines(one.rle.model_dump()))
        for one in objects
    ]
