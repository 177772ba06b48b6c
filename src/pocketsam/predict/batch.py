"""Prompts on many photos: a job for each photo, which is segmented and written to the job's files.

photos, prompts → jobs → opened, one after the other → masks → the files of each photo
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pocketsam.errors import InputError
from pocketsam.predict.formats import format_of, means_a_file
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import load_mask
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt, arguments, cut_boxes, text
from pocketsam.predict.photo_files import PhotoOutcome, failure, make_folder, unique_names
from pocketsam.predict.prompt_files import read_prompts
from pocketsam.utils.files import check_writable


class OpenPhoto(Protocol):
    """An encoded photo, such as a `Photo`; its methods are described there."""

    geometry: Geometry

    def segment(self, *prompts: Any, **options: Any) -> Masks: ...

    def segment_objects(self, *objects: Any, **options: Any) -> Masks: ...


class PhotoOpener(Protocol):
    """What opens and encodes photos, such as a `Segmenter`."""

    def open(self, source: Path, /) -> OpenPhoto: ...


@dataclass(frozen=True)
class Job:
    """A photo, the objects in it, a file with the mask of the only object, and the files to write."""

    photo: Path
    objects: Sequence[ObjectPrompt]
    mask: Path | None
    files: Sequence[Path]


@dataclass(frozen=True)
class Outcome(PhotoOutcome):
    """The result for a photo. masks: that were written, empty ones among them; 0 if all are empty.

    predicted_iou: the lowest and the highest of its masks. files: that were written.
    warnings: a line for each object that was not found, and each box that was cut off.
    """

    predicted_iou: tuple[float, float] = (0.0, 0.0)
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def same_prompts(
    photos: Sequence[Path], objects: Sequence[ObjectPrompt], mask: Path | None, output: Path | None
) -> list[Job]:
    """Jobs that prompt each photo with the same objects. mask: a file with the mask of the only object.

    output: a folder or, for one photo, a file whose suffix chooses the format; None: the working directory.
    Raises InputError when the results cannot be written there, or a mask comes with several objects.
    """
    if mask is not None and len(objects) > 1:
        raise InputError(f"{mask}: is the mask of one object; give it with one box at most")
    files = _plan_outputs(photos, output)
    return [
        Job(photo, objects or [ObjectPrompt()], mask, of_one)
        for photo, of_one in zip(photos, files, strict=True)
    ]


def prompts_of_file(file: Path, folder: Path, output: Path | None) -> list[Job]:
    """Jobs for the photos that a file of prompts names, which lie in `folder`. output: see `same_prompts`.

    Raises InputError when the file cannot be read, or the results cannot be written.
    """
    prompts = read_prompts(file)
    photos = [folder / name for name in prompts]
    files = _plan_outputs(photos, output)
    return [
        Job(photo, objects, None, of_one)
        for photo, objects, of_one in zip(photos, prompts.values(), files, strict=True)
    ]


def segment_photos(
    segmenter: PhotoOpener, jobs: Iterable[Job], multimask: bool = False, refine: bool = False
) -> Iterator[Outcome]:
    """The outcome of each job, when its files are written; a photo that fails does not stop the others.

    multimask, refine: as in `Photo.segment`. A photo without masks gets no files.
    """
    for job in jobs:
        try:
            yield _segment_photo(segmenter.open(job.photo), job, multimask, refine)
        except (InputError, OSError, MemoryError) as error:
            yield Outcome(job.photo, error=failure(job.photo, error))


def _segment_photo(photo: OpenPhoto, job: Job, multimask: bool, refine: bool) -> Outcome:
    try:
        masks = _segment_objects(photo, job, multimask=multimask, refine=refine)
    except InputError as error:  # it is about the prompt, which may be fine on another photo
        raise InputError(f"{job.photo}: {error}") from error
    warnings = [
        f"{job.photo}: {one} reaches beyond the photo; {text(box)} was used"
        for one, box in cut_boxes(job.objects, masks.size)
    ]
    warnings += [f"{job.photo}: no object found for {job.objects[i]}" for i in masks.objects[masks.empty]]
    if masks.empty.all():
        return Outcome(job.photo, warnings=tuple(warnings))
    files = tuple(file for wanted in job.files for file in masks.save(wanted))
    iou = float(masks.predicted_iou.min()), float(masks.predicted_iou.max())
    return Outcome(job.photo, len(masks), None, iou, files, tuple(warnings))


def _segment_objects(photo: OpenPhoto, job: Job, **options: bool) -> Masks:
    if job.mask is None:
        return photo.segment_objects(job.objects, **options)
    mask_input = _load_mask_input(job.mask, photo.geometry)
    return photo.segment(**arguments(job.objects), mask_input=mask_input, **options)


def _load_mask_input(path: Path, geometry: Geometry) -> Any:
    """Low-resolution logits from a .npy file, or made from an image of the photo's size."""
    if path.suffix.lower() != ".npy":
        return geometry.mask_to_model(load_mask(path))
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as .npy ({error}); save masks.logits there") from error


def _plan_outputs(photos: Sequence[Path], output: Path | None) -> list[list[Path]]:
    """The files to write for each photo. Raises InputError when there is no place for them."""
    if len(photos) == 1 and output is not None and output.suffix and not output.is_dir():
        format_of(output)
        check_writable(output.parent, missing=True)
        if output.exists() and photos[0].exists() and output.samefile(photos[0]):
            raise InputError(f"{output}: is the photo itself; choose another name for the result")
        return [[output]]
    if output is not None and not output.is_dir() and means_a_file(output):
        raise InputError(f"{output}: is one file, but there are {len(photos)} photos; give a folder")
    folder = output or Path()
    make_folder(folder, len(photos))
    # Not NAME.json: beside a photo, that is the ground truth.
    return [[folder / f"{name}.overlay.jpg", folder / f"{name}.masks.json"] for name in unique_names(photos)]
