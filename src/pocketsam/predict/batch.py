"""Prompts on many photos: a job for each photo, which is segmented and written to the job's files.

photos, prompts → jobs → opened, one after the other → masks → the files of each photo, or one file of all
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pocketsam.errors import InputError
from pocketsam.predict.formats import format_of, means_a_file
from pocketsam.predict.formats.labelled import Classes, LabelledPhoto, labelled
from pocketsam.predict.formats.writing import check_names, write_labels
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import load_mask
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt, arguments, cut_boxes, text
from pocketsam.predict.photo_files import (
    PhotoOutcome,
    failure,
    find_photos,
    make_folder,
    names_in_one_file,
    unique_names,
)
from pocketsam.predict.prompt_arguments import PromptArguments
from pocketsam.predict.prompt_files import read_prompts
from pocketsam.predict.result_arguments import ResultArguments
from pocketsam.utils.files import check_not_read, check_writable
from pocketsam.utils.wording import count


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
    """A photo, the objects in it, a file with the mask of the only object, and the files to write for it alone."""

    photo: Path
    objects: Sequence[ObjectPrompt]
    mask: Path | None
    files: Sequence[Path]


@dataclass(frozen=True)
class Outcome(PhotoOutcome):
    """The result for a photo. masks: that were written, empty ones among them; 0 if all are empty.

    predicted_iou: the lowest and the highest of its masks.
    warnings: a line for each object that was not found, and each box that was cut off.
    labels: its masks, unless the photo failed.
    """

    predicted_iou: tuple[float, float] = (0.0, 0.0)
    labels: LabelledPhoto | None = None

    @property
    def lines(self) -> list[str]:
        """How many masks were found, and how good they are, before the files; nothing where none was found."""
        if not self.masks:
            return super().lines
        low, high = (f"{value:.2f}" for value in self.predicted_iou)
        iou = low if low == high else f"{low} to {high}"
        return [f"{self.photo}: {count(self.masks, 'mask')}, predicted IoU {iou}", *super().lines]


def plan(
    given: Sequence[Path], args: PromptArguments, output: Path | None, text: Sequence[str] = ()
) -> list[Job]:
    """The jobs that a command line describes; errors name its options.

    given: photos and folders of photos; with a file of prompts, the folder of its photos, if they do not lie beside
    it. output: a folder or, for one photo, a file whose suffix chooses the format; None: the working directory.
    text: names of the objects, where what opens the photos finds them by these.
    Raises InputError for options that exclude each other, and where a photo, a prompt or a place for the results is
    missing.
    """
    objects, mask = args.objects(), args.mask
    if text:
        if objects or mask is not None or args.prompts is not None:
            raise InputError(
                "--text finds the objects; leave out --point, --negative, --box, --mask and --prompts"
            )
        objects = [ObjectPrompt(name=name) for name in text]
    if args.prompts is not None:
        if objects or mask is not None:
            raise InputError("--prompts holds all prompts; leave out --point, --negative, --box and --mask")
        return _jobs_of_file(args.prompts, given, output)
    if not given:
        raise InputError("there is no photo; give one, or a folder of photos")
    if not objects and mask is None:
        raise InputError(
            "there is no prompt; give --point X,Y, --box X0,Y0,X1,Y1, --mask FILE or --prompts FILE,"
            " or name the object by --text NAME"
        )
    if mask is not None and len(objects) > 1:
        raise InputError("--mask is the mask of one object; give it with one --box at most")
    photos = find_photos(given)
    if len(photos) > 1 and not args.same_prompts and not text:
        raise InputError(
            f"there are {len(photos)} photos, but --point, --box and --mask are of one; give --prompts FILE with the"
            " prompts of each, or --same-prompts to use the same pixels on all of them"
        )
    files = _plan_outputs(photos, output, mask)
    of_each = objects or [ObjectPrompt()]
    return [Job(photo, of_each, mask, of_one) for photo, of_one in zip(photos, files, strict=True)]


def _jobs_of_file(prompts: Path, given: Sequence[Path], output: Path | None) -> list[Job]:
    if given and (len(given) > 1 or not given[0].is_dir()):
        raise InputError(
            f"{given[0]}: with --prompts, give the one folder in which its photos are, or nothing"
        )
    folder = given[0] if given else prompts.parent
    by_name = read_prompts(prompts)
    photos = [folder / name for name in by_name]
    return [
        Job(photo, objects, None, files)
        for photo, objects, files in zip(
            photos, by_name.values(), _plan_outputs(photos, output, prompts), strict=True
        )
    ]


def segment_photos(segmenter: PhotoOpener, jobs: Sequence[Job], args: ResultArguments) -> Iterator[Outcome]:
    """The outcome of each job, when its files are written; a photo that fails does not stop the others.

    A photo without masks gets no files. Where the masks of several photos go into one file, it is written after the
    last, unless all photos failed; a photo without masks is in it, too.
    """
    shared = args.output if is_shared(args.output, len(jobs)) else None
    done = []
    for job, name in zip(jobs, names_in_one_file([job.photo for job in jobs]), strict=True):
        outcome = _do(job, segmenter, args)
        if shared and outcome.labels is not None:
            done.append(replace(outcome.labels, file_name=name))
        yield outcome
    if shared and done:
        write_labels(done, Classes(), shared)


def _do(job: Job, segmenter: PhotoOpener, args: ResultArguments) -> Outcome:
    try:
        return _segment_photo(segmenter.open(job.photo), job, args)
    except (InputError, OSError, MemoryError) as error:
        return Outcome(job.photo, error=failure(job.photo, error))


def _segment_photo(photo: OpenPhoto, job: Job, args: ResultArguments) -> Outcome:
    try:
        masks = _segment_objects(photo, job, **args.options())
    except InputError as error:  # it is about the prompt, which may be fine on another photo
        raise InputError(f"{job.photo}: {error}") from error
    warnings = [
        f"{job.photo}: {one} reaches beyond the photo; {text(box)} was used"
        for one, box in cut_boxes(job.objects, masks.size)
    ]
    warnings += [f"{job.photo}: no object found for {job.objects[i]}" for i in masks.objects[masks.empty]]
    if not len(masks):  # a text of which nothing was found
        warnings = [f"{job.photo}: nothing found for {' and '.join(repr(one.name) for one in job.objects)}"]
    if masks.empty.all():
        nothing = LabelledPhoto(masks.file_name, masks.size)
        return Outcome(job.photo, warnings=tuple(warnings), labels=nothing)
    files = tuple(file for wanted in job.files for file in masks.save(wanted))
    iou = float(masks.predicted_iou.min()), float(masks.predicted_iou.max())
    labels = replace(labelled(masks), image=None)
    return Outcome(job.photo, len(masks), None, files, tuple(warnings), iou, labels)


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


def is_shared(output: Path | None, photos: int) -> bool:
    """Whether the masks of several photos go into one file."""
    if output is None or photos < 2 or output.is_dir() or not means_a_file(output):
        return False
    return format_of(output)[0].many != "files"


def summary(outcomes: Sequence[Outcome], output: Path | None) -> list[str]:
    """A line for the end where the masks of several photos went into one file, else none."""
    if not is_shared(output, len(outcomes)) or all(outcome.error for outcome in outcomes):
        return []
    masks = sum(outcome.masks for outcome in outcomes)
    return [f"{output}: {count(masks, 'mask')} in {count(len(outcomes), 'photo')}"]


def _plan_outputs(photos: Sequence[Path], output: Path | None, *prompts: Path | None) -> list[list[Path]]:
    """The files to write for each photo. prompts: files that are read, too.

    Raises InputError where they cannot be written, would have the same name, or would replace what is read.
    """
    read = [*photos, *filter(None, prompts)]
    if len(photos) == 1 and output is not None and output.suffix and not output.is_dir():
        format_of(output)
        check_writable(output.parent, missing=True)
        check_not_read(output, read)
        return [[output]]
    if output is not None and is_shared(output, len(photos)):
        check_writable(output.parent, missing=True)
        check_not_read(output, read)
        check_names(names_in_one_file(photos), output)
        return [[] for _ in photos]
    if output is not None and not output.is_dir() and means_a_file(output):
        raise InputError(f"{output}: is one file, but there are {len(photos)} photos; give a folder")
    folder = output or Path()
    make_folder(folder, len(photos))
    # Not NAME.json: beside a photo, that is the ground truth.
    return [[folder / f"{name}.overlay.jpg", folder / f"{name}.masks.json"] for name in unique_names(photos)]
