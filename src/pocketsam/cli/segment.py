"""`pocketsam segment`: masks for the clicks, boxes and mask that are given, in one photo or in many."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketsam.cli.options import Device, Engine, Model, Photos, Precision, Threads
from pocketsam.errors import InputError
from pocketsam.utils.files import check_writable

if TYPE_CHECKING:
    from pocketsam.predict.geometry import Geometry
    from pocketsam.predict.masks import Masks
    from pocketsam.segmenter import Segmenter


def segment(
    photos: Photos,
    points: Annotated[
        list[str] | None, typer.Option("--point", help="A pixel on the object.", metavar="X,Y")
    ] = None,
    negatives: Annotated[
        list[str] | None, typer.Option("--negative", help="A pixel that is not on it.", metavar="X,Y")
    ] = None,
    boxes: Annotated[
        list[str] | None, typer.Option("--box", help="A box around an object.", metavar="X0,Y0,X1,Y1")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="A mask to improve: logits (.npy), or an image, not 0 inside.", metavar="FILE"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A folder, or a file that ends in .json (COCO), .png .jpg .webp (overlay), .cutout.png,"
            " .labels.png, .npy or .npz (logits). If not given: NAME.overlay.jpg and NAME.masks.json, here.",
            metavar="OUT",
        ),
    ] = None,
    all_masks: Annotated[
        bool, typer.Option("--all-masks", help="All three masks of an ambiguous prompt, not the best one.")
    ] = False,
    model: Model = "pocket",
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: Threads = None,
) -> None:
    """Cut objects out of photos, by clicks or boxes.

    All points are clicks on one object; each box is an object of its own. Repeat an option to give several.
    """
    prompts = _parse_prompts(points or [], negatives or [], boxes or [])
    if not prompts and mask is None:
        raise InputError("there is no prompt; give --point X,Y or --box X0,Y0,X1,Y1 or --mask FILE")
    if mask is not None and len(prompts.get("boxes", [])) > 1:
        raise InputError("--mask is the mask of one object; give it with one --box at most")

    from pocketsam.automatic.batch import failure, find_photos, not_all_done
    from pocketsam.segmenter import Segmenter

    paths = find_photos(photos)
    outputs = _plan_outputs(paths, output)

    segmenter = Segmenter(model, engine, device=device, precision=precision, threads=threads)
    failed = []
    for path, files in zip(paths, outputs, strict=True):
        try:
            _segment_photo(segmenter, path, prompts, mask, all_masks, files)
        except (InputError, OSError, MemoryError) as error:
            if len(paths) == 1:
                raise
            typer.echo(f"pocketsam: {failure(path, error)}", err=True)
            failed.append(path)
    if failed:
        raise not_all_done(len(paths), failed)


def _segment_photo(
    segmenter: "Segmenter",
    path: Path,
    prompts: dict[str, Any],
    mask: Path | None,
    all_masks: bool,
    files: list[Path],
) -> None:
    photo = segmenter.open(path)
    try:
        mask_input = None if mask is None else _load_mask_input(mask, photo.geometry)
        masks = photo.segment(**prompts, mask_input=mask_input, all_masks=all_masks)
    except InputError as error:  # it is about the prompt, which may be fine on another photo
        raise InputError(f"{path}: {error}") from error
    written = [file for wanted in files for file in masks.save(wanted)]
    typer.echo(f"{path}: {_summary(masks)}")
    for file in written:
        typer.echo(f"  {file}")


def _summary(masks: "Masks") -> str:
    low, high = f"{masks.predicted_iou.min():.2f}", f"{masks.predicted_iou.max():.2f}"
    count = "1 mask" if len(masks) == 1 else f"{len(masks)} masks"
    return f"{count}, predicted IoU {low if low == high else f'{low} to {high}'}"


def _parse_prompts(points: list[str], negatives: list[str], boxes: list[str]) -> dict[str, Any]:
    """The arguments of `Photo.segment`: one object with all points, or one object a box."""
    prompts: dict[str, Any] = {}
    if points or negatives:
        if len(boxes) > 1:
            raise InputError(
                "points belong to one object; give one --box at most with them, or leave them out"
            )
        clicks = [_numbers("--point", text, 2) for text in points]
        clicks += [_numbers("--negative", text, 2) for text in negatives]
        prompts = {"points": clicks, "labels": [1] * len(points) + [0] * len(negatives)}
    if boxes:
        prompts["boxes"] = [_numbers("--box", text, 4) for text in boxes]
    return prompts


def _numbers(option: str, text: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        example = "120,300" if count == 2 else "20,40,300,280"
        raise InputError(f"{option} {text}: give {count} numbers with commas between them, such as {example}")
    return numbers


def _plan_outputs(photos: list[Path], output: Path | None) -> list[list[Path]]:
    """The files to write for each photo. Raises InputError when there is no place for them."""
    from pocketsam.automatic.batch import make_folder, unique_names
    from pocketsam.predict.formats import format_of, means_a_file

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
    # Not NAME.json: beside a photo, that is its annotations, drawn by people.
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
