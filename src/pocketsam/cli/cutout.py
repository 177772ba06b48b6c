"""`pocketsam cutout`: the salient object of photos, without a prompt, with everything else transparent."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.cli.options import Model, begin, output_option, show_outcomes

if TYPE_CHECKING:
    from pocketsam.apps.saliency_head import SaliencyHead
    from pocketsam.engines import Engine


def cutout(
    photos: Annotated[
        list[Path], typer.Argument(readable=False, help="Photos, or folders of photos.", metavar="PHOTO")
    ],
    output: Annotated[Path | None, output_option("A folder, or a .png or .webp file for one photo.")] = None,
    instances: Annotated[bool, typer.Option("--instances", help="Each salient object by itself.")] = False,
    model: Model = "pocket",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; all cores, if not given.", metavar="N", min=1)
    ] = None,
) -> None:
    """Cut the main object out of photos, without a prompt.

    NAME.cutout.png is transparent around it, with soft edges.
    """
    both = begin(partial(_open, model, instances, threads))
    from pocketsam.apps.cutout import cut_out_photos
    from pocketsam.predict.photo_files import check_all_done, find_photos
    from pocketsam.segmenter import Segmenter

    paths = find_photos(photos)
    engine, head = both()
    outcomes = cut_out_photos(Segmenter(engine=engine), head, paths, output, instances)
    check_all_done(show_outcomes(outcomes, len(paths)))


def _open(model: str, instances: bool, threads: int | None) -> "tuple[Engine, SaliencyHead]":
    from pocketsam.apps.saliency_head import open_both

    return open_both(model, instances, threads)
