"""`pocketsam segment`: masks of the objects that are clicked on or boxed, in one photo or in many."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketsam.cli.options import Device, Engine, Model, Precision, Threads
from pocketsam.cli.words import count
from pocketsam.errors import InputError
from pocketsam.predict.formats import FORMATS, format_of, means_a_file
from pocketsam.utils.files import check_writable

if TYPE_CHECKING:
    from pocketsam.predict.geometry import Geometry
    from pocketsam.predict.masks import Masks
    from pocketsam.predict.objects import ObjectPrompt
    from pocketsam.segmenter import Photo, Segmenter

SUFFIXES = "; ".join(f"{' '.join(format.suffixes)} ({format.what})" for format in FORMATS)


@dataclass(frozen=True)
class _Job:
    """A photo, the objects in it, a file with the mask of the only object, and the files to write."""

    photo: Path
    objects: "list[ObjectPrompt]"
    mask: Path | None
    files: list[Path]


def segment(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos, or folders of photos; with --prompts, the folder of its photos.", metavar="PHOTO"
        ),
    ] = None,
    points: Annotated[
        list[str] | None, typer.Option("--point", help="A pixel on the object.", metavar="[NAME=]X,Y")
    ] = None,
    negatives: Annotated[
        list[str] | None,
        typer.Option("--negative", help="A pixel that is not on the object.", metavar="[NAME=]X,Y"),
    ] = None,
    boxes: Annotated[
        list[str] | None,
        typer.Option("--box", help="A box around an object, in pixels.", metavar="[NAME=]X0,Y0,X1,Y1"),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A mask to start from: logits (.npy), or an image that is not 0 inside the mask.",
            metavar="FILE",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="The prompts of many photos: .csv with the columns photo, points, labels, boxes, name, or .json.",
            metavar="FILE",
        ),
    ] = None,
    same_prompts: Annotated[
        bool, typer.Option("--same-prompts", help="Use the same pixels on each of several photos.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help=f"A folder, or a file whose suffix chooses the format: {SUFFIXES}."
            " If not given: NAME.overlay.jpg and NAME.masks.json, in the working directory.",
            metavar="OUT",
        ),
    ] = None,
    multimask: Annotated[
        bool,
        typer.Option("--multimask", help="Return three masks for each object, the most confident first."),
    ] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="Move the outlines to the edges in the photo.")
    ] = False,
    model: Model = "pocket",
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
) -> None:
    """Segment objects in photos, by clicks or boxes.

    Points with the same NAME are clicks on one object, and so are all points without a name. Each box is an object
    of its own. NAME is the object's class in files that contain classes; shoe:1 and shoe:2 are two objects of the
    class shoe. Exit code 2 means an error, or that no object was found.
    """
    objects = _parse_objects(points or [], negatives or [], boxes or [])
    if prompts is not None:
        if objects or mask is not None:
            raise InputError("--prompts holds all prompts; leave out --point, --negative, --box and --mask")
        jobs = _jobs_of_file(prompts, photos or [], output)
    else:
        jobs = _jobs_of_options(photos or [], objects, mask, same_prompts, output)

    from pocketsam.automatic.batch import failure, not_all_done
    from pocketsam.segmenter import Segmenter

    segmenter = Segmenter(
        model, engine, device=device, precision=precision, threads=threads, one_image=len(jobs) == 1
    )
    failed, found = [], 0
    for job in jobs:
        try:
            found += _segment_photo(segmenter, job, multimask, refine)
        except (InputError, OSError, MemoryError) as error:
            if len(jobs) == 1:
                raise
            _warn(failure(job.photo, error))
            failed.append(job.photo)
    if failed:
        raise not_all_done(len(jobs), failed)
    if not found:  # each object is named above
        raise typer.Exit(2)


def _jobs_of_options(
    given: list[Path],
    objects: "list[ObjectPrompt]",
    mask: Path | None,
    same_prompts: bool,
    output: Path | None,
) -> list[_Job]:
    from pocketsam.automatic.batch import find_photos
    from pocketsam.predict.objects import ObjectPrompt

    if not given:
        raise InputError("there is no photo; give one, or a folder of photos")
    if not objects and mask is None:
        raise InputError(
            "there is no prompt; give --point X,Y, --box X0,Y0,X1,Y1, --mask FILE or --prompts FILE"
        )
    if mask is not None and len(objects) > 1:
        raise InputError("--mask is the mask of one object; give it with one --box at most")
    photos = find_photos(given)
    if len(photos) > 1 and not same_prompts:
        raise InputError(
            f"there are {len(photos)} photos, but --point, --box and --mask are of one; give --prompts FILE with the"
            " prompts of each, or --same-prompts to use the same pixels on all of them"
        )
    files = _plan_outputs(photos, output)
    return [
        _Job(photo, objects or [ObjectPrompt()], mask, of_one)
        for photo, of_one in zip(photos, files, strict=True)
    ]


def _jobs_of_file(prompts: Path, given: list[Path], output: Path | None) -> list[_Job]:
    """Photos are named relative to the folder that is given or, if none is, to that of the prompts."""
    from pocketsam.predict.prompt_files import read_prompts

    if given and (len(given) > 1 or not given[0].is_dir()):
        raise InputError(
            f"{given[0]}: with --prompts, give the one folder in which its photos are, or nothing"
        )
    folder = given[0] if given else prompts.parent
    by_photo = read_prompts(prompts)
    photos = [folder / name for name in by_photo]
    files = _plan_outputs(photos, output)
    return [
        _Job(photo, objects, None, of_one)
        for photo, objects, of_one in zip(photos, by_photo.values(), files, strict=True)
    ]


def _segment_photo(segmenter: "Segmenter", job: _Job, multimask: bool, refine: bool) -> int:
    """Write the files of a photo, unless nothing was found in it, and say so; how many masks were found."""
    from pocketsam.predict.objects import cut_boxes, text

    photo = segmenter.open(job.photo)
    try:
        masks = _segment_objects(photo, job, multimask, refine)
    except InputError as error:  # it is about the prompt, which may be fine on another photo
        raise InputError(f"{job.photo}: {error}") from error
    for one, box in cut_boxes(job.objects, masks.size):
        _warn(f"{job.photo}: {one} reaches beyond the photo; {text(box)} was used")
    for i in masks.objects[masks.empty]:
        _warn(f"{job.photo}: no object found for {job.objects[i]}")
    found = int((~masks.empty).sum())
    if not found:
        return 0
    written = [file for wanted in job.files for file in masks.save(wanted)]
    typer.echo(f"{job.photo}: {_summary(masks)}")
    for file in written:
        typer.echo(f"  {file}")
    return found


def _segment_objects(photo: "Photo", job: _Job, multimask: bool, refine: bool) -> "Masks":
    from pocketsam.predict.objects import arguments

    if job.mask is None:
        return photo.segment_objects(job.objects, multimask=multimask, refine=refine)
    mask_input = _load_mask_input(job.mask, photo.geometry)
    return photo.segment(**arguments(job.objects), mask_input=mask_input, multimask=multimask, refine=refine)


def _summary(masks: "Masks") -> str:
    low, high = f"{masks.predicted_iou.min():.2f}", f"{masks.predicted_iou.max():.2f}"
    return f"{count(len(masks), 'mask')}, predicted IoU {low if low == high else f'{low} to {high}'}"


def _warn(line: str) -> None:
    typer.echo(f"pocketsam: {line}", err=True)


def _parse_objects(points: list[str], negatives: list[str], boxes: list[str]) -> "list[ObjectPrompt]":
    """The objects that the options describe: one for all points of a NAME, and one for each box without points."""
    from pocketsam.predict.formats.coco import DEFAULT_NAME
    from pocketsam.predict.objects import ObjectPrompt, check_pixels

    given: dict[str, dict[str, list[float]]] = {}
    for option, texts, length in (("--point", points, 2), ("--negative", negatives, 2), ("--box", boxes, 4)):
        for text in texts:
            name, _, coordinates = text.rpartition("=")
            numbers = _numbers(option, text, coordinates, length)
            try:
                check_pixels(numbers)
            except InputError as error:
                raise InputError(f"{option} {error}") from error
            of_name = given.setdefault(name, {"points": [], "labels": [], "boxes": []})
            of_name["boxes" if option == "--box" else "points"] += numbers
            if option != "--box":
                of_name["labels"].append(float(option == "--point"))
    return [
        one
        for name, prompts in given.items()
        for one in ObjectPrompt.several(**prompts, name=name.partition(":")[0].strip() or DEFAULT_NAME)
    ]


def _numbers(option: str, text: str, coordinates: str, length: int) -> list[float]:
    try:
        numbers = [float(part) for part in coordinates.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != length:
        example = "120,300" if length == 2 else "20,40,300,280"
        raise InputError(
            f"{option} {text}: give {length} numbers with commas between them, such as {example}"
        )
    return numbers


def _plan_outputs(photos: list[Path], output: Path | None) -> list[list[Path]]:
    """The files to write for each photo. Raises InputError when there is no place for them."""
    from pocketsam.automatic.batch import make_folder, unique_names

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


def _load_mask_input(path: Path, geometry: "Geometry") -> Any:
    """Low-resolution logits from a .npy file, or made from an image of the photo's size."""
    if path.suffix.lower() == ".npy":
        import numpy as np

        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: cannot be read as .npy ({error}); save masks.logits there") from error

    from pocketsam.predict.image import load_mask

    return geometry.mask_to_model(load_mask(path))
