"""Cut-outs without a prompt: the salient object of each photo, with soft edges, on nothing.

photo → embedding → saliency → alpha → NAME.cutout.png
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.saliency import SMALLEST, salient_instances
from pocketsam.apps.saliency_head import SaliencyHead
from pocketsam.errors import InputError
from pocketsam.predict.alpha import soft_mask
from pocketsam.predict.formats.cutout import transparent
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import photo_of
from pocketsam.predict.photo_files import PhotoOutcome, failure, make_folder, unique_names
from pocketsam.predict.regions import clean_logits
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.files import check_not_read, check_writable, write

ENDING = ".cutout.png"
SMALLEST_CELLS = 64
"""Islands and holes of fewer cells of the logits are left out, as in masks of prompts."""


def salient_alpha(photo: Photo, head: SaliencyHead) -> NDArray[np.uint8]:
    """How much of each pixel belongs to the salient object: (H, W) from 0 to 255. Raises as `cut_out` does."""
    alpha = soften(photo, head(photo))
    if np.count_nonzero(alpha > 127) < SMALLEST * alpha.size:
        raise _nothing_salient(photo)
    return alpha


def soften(photo: Photo, logits: NDArray[np.float32], smallest: float = SMALLEST_CELLS) -> NDArray[np.uint8]:
    """The alpha (H, W), from 0 to 255, of an object by its logits (h, w).

    smallest: islands and holes of fewer cells of the logits are left out.
    Raises InputError where only the photo's embedding was opened.
    """
    image = photo_of(photo.image, photo.name)
    return soft_mask(clean_logits(logits, smallest), image, photo.geometry)


def cut_out(photo: Photo, head: SaliencyHead) -> NDArray[np.uint8]:
    """The salient object of a photo: uint8 (H, W, 4) RGBA, transparent outside and soft at the edges.

    Raises InputError where nothing is salient, or only the photo's embedding was opened.
    """
    return transparent(photo_of(photo.image, photo.name), salient_alpha(photo, head))


def cut_out_instances(photo: Photo, head: SaliencyHead) -> list[NDArray[np.uint8]]:
    """Each salient object by itself, uint8 (H, W, 4) RGBA: the box of each salient region is the prompt for its mask.

    Raises as `cut_out` does.
    """
    masks = salient_instances(photo, head(photo))
    image = photo_of(photo.image, photo.name)
    alphas = (
        masks.within_box(i, soften(photo, masks.logits[i], masks.smallest_region))
        for i in np.flatnonzero(~masks.empty).tolist()
    )
    found = [transparent(image, alpha) for alpha in alphas]
    if not found:
        raise _nothing_salient(photo)
    return found


def _nothing_salient(photo: Photo) -> InputError:
    name = photo.name or "the photo"
    return InputError(f"{name}: no salient object found; prompt it by a click or a box")


def cut_out_photos(
    segmenter: Segmenter,
    head: SaliencyHead,
    photos: Sequence[Path],
    output: Path | None = None,
    instances: bool = False,
) -> Iterator[PhotoOutcome]:
    """The outcome of each photo, when its PNG is written; a photo that fails does not stop the others.

    output: a folder for a NAME.cutout.png of each or, for one photo, a .png or .webp file; None: the working
    directory. instances: one file for each object, NAME.0.cutout.png and so on.
    Raises InputError when there is no place for the results.
    """
    targets = _targets(photos, output)
    for photo, target in zip(photos, targets, strict=True):
        try:
            files = _cut_out_file(segmenter.open(photo), head, target, instances)
            yield PhotoOutcome(photo, len(files), files=files)
        except (InputError, OSError, MemoryError) as error:
            yield PhotoOutcome(photo, error=failure(photo, error))


def _cut_out_file(photo: Photo, head: SaliencyHead, target: Path, instances: bool) -> tuple[Path, ...]:
    pictures = cut_out_instances(photo, head) if instances else [cut_out(photo, head)]
    ending = ENDING if target.name.endswith(ENDING) else target.suffix
    numbered = [target.with_name(f"{target.name[: -len(ending)]}.{i}{ending}") for i in range(len(pictures))]
    files = numbered if len(pictures) > 1 else [target]
    for file, picture in zip(files, pictures, strict=True):
        write(file, encode_image(picture, file.suffix.lower()))
    return tuple(files)


def _targets(photos: Sequence[Path], output: Path | None) -> list[Path]:
    """The file of each photo's cut-out."""
    if output is None or output.is_dir() or not output.suffix:
        folder = output or Path()
        make_folder(folder, len(photos))
        return [folder / f"{name}{ENDING}" for name in unique_names(photos)]
    if len(photos) > 1:
        raise InputError(f"{output}: is one file, but there are {len(photos)} photos; give a folder")
    if output.suffix.lower() not in (".png", ".webp"):
        raise InputError(f"{output}: a cut-out needs transparency; give a .png or .webp file, or a folder")
    check_not_read(output, photos)
    check_writable(output.parent, missing=True)
    return [output]
