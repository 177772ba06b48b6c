"""A clip: an object's mask is carried from frame to frame, by prompts made of the last mask. No memory network.

frame 0, the user's prompt → mask → a box, points and the mask itself prompt frame 1 → mask → …

So annotators of videos used SAM before SAM 2 (arXiv 2408.00714, which names this as its baseline). The model sees one
frame at a time: it follows what stays near its place and keeps its look from one frame to the next. It loses what
leaves the picture, is hidden, or jumps farther than its own size, and mixes up things that look alike and touch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.config import FOREGROUND
from pocketsam.errors import InputError
from pocketsam.predict.formats.labelled import Classes, labelled
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.writing import write_labels
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.predict.photo_files import find_photos, make_folder, names_in_one_file, unique_names
from pocketsam.predict.regions import deepest_pixel
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.boxes import tight_box
from pocketsam.utils.files import write

MARGIN = 0.05
"""By this fraction of its sides the last mask's box is enlarged on each side: objects move."""
SMALLEST = 0.2
"""A mask of less than this fraction of the last one's pixels, or of more than its inverse, is taken for lost."""


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """A frame, its masks, one for each object, and which of the objects were found in it, (N,) bool."""

    path: Path
    masks: Masks
    found: NDArray[np.bool_]


def track(
    segmenter: Segmenter, frames: Sequence[Path], objects: Sequence[ObjectPrompt]
) -> Iterator[TrackedFrame]:
    """The masks of objects in each frame, of which the first is prompted by the user. An object that is lost is
    looked for where it was last seen.

    Raises InputError when a frame cannot be read or is of another size, or nothing is found in the first.
    """
    first = segmenter.open(frames[0])
    masks = first.segment_objects(objects)
    if masks.empty.any():
        lost = objects[int(np.flatnonzero(masks.empty)[0])]
        raise InputError(f"{frames[0]}: no object found for {lost}; prompt it otherwise")
    last = list(masks)
    yield TrackedFrame(frames[0], masks, np.ones(len(masks), np.bool_))
    for path in frames[1:]:
        photo = segmenter.open(path)
        if (photo.geometry.height, photo.geometry.width) != masks.size:
            raise InputError(f"{path}: is of another size than {frames[0]}; give the frames of one clip")
        carried = [carry(photo, one) for one in last]
        found = np.array([_is_same(new, old) for new, old in zip(carried, last, strict=True)])
        last = [new if same else old for new, old, same in zip(carried, last, found, strict=True)]
        yield TrackedFrame(path, Masks.join(carried).named([one.name for one in objects]), found)


def carry(photo: Photo, last: Masks) -> Masks:
    """The mask of an object in a frame, by its only mask in the last one: a point deep in it, a box, and itself.

    The box is that of the part which the point is in: what split off was perhaps something else that passed.
    """
    mask = last.binary[0]
    x, y, _ = deepest_pixel(mask)
    _, parts = cv2.connectedComponents(mask.view(np.uint8))
    mask = np.asarray(parts == parts[y, x])
    box = tight_box(mask).astype(np.float64)
    margin = MARGIN * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    edges = np.array([mask.shape[1], mask.shape[0]] * 2)
    around = np.clip(box + margin, 0, edges)
    return photo.segment([[(x, y)]], [[FOREGROUND]], [around], mask_input=last.logits)


def _is_same(new: Masks, old: Masks) -> bool:
    """Whether a mask may be the object whose mask in the last frame is given."""
    ratio = float(new.areas[0]) / max(1.0, float(old.areas[0]))
    return SMALLEST <= ratio <= 1 / SMALLEST and not bool(new.empty[0])


@dataclass(frozen=True)
class TrackResult:
    """The files that were written, and a line for each object and the frames in which it was lost."""

    files: tuple[Path, ...]
    warnings: tuple[str, ...]


def track_into(
    segmenter: Segmenter, given: Sequence[Path], objects: Sequence[ObjectPrompt], output: Path
) -> TrackResult:
    """Track objects through frames, in the order of their names, and write into a folder: an overlay of each frame,
    and tracks.json, COCO in which `object` is the object's number in the clip.

    Raises as `track` does, and InputError for fewer than two frames, without a prompt and without a place to write.
    """
    frames = find_photos(given)
    if len(frames) < 2:
        raise InputError(f"{frames[0]}: is one frame; give a folder of frames, or several in their order")
    if not objects:
        raise InputError("there is no prompt; give --point X,Y or --box X0,Y0,X1,Y1 of the first frame")
    make_folder(output, len(frames))
    files, labels = [], []
    lost: dict[int, list[str]] = {}
    names = zip(unique_names(frames), names_in_one_file(frames), strict=True)
    for (name, file_name), frame in zip(names, track(segmenter, frames, objects), strict=True):
        shown = frame.masks[np.flatnonzero(frame.found)]
        files.append(output / f"{name}.overlay.jpg")
        write(files[-1], encode_image(shown.overlay(), ".jpg"))
        labels.append(replace(labelled(shown), file_name=file_name, image=None))
        for i in np.flatnonzero(~frame.found).tolist():
            lost.setdefault(i, []).append(frame.path.name)
    write_labels(labels, Classes(), output / "tracks.json")
    warnings = [
        f"{objects[i]}: lost in {len(names)} frames, first in {names[0]}" for i, names in lost.items()
    ]
    return TrackResult((*files, output / "tracks.json"), tuple(warnings))
