"""`pocketsam cutout`: the salient object of photos, without a prompt, with everything else transparent."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import Model, output_option, show_outcomes


def cutout(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", metavar="PHOTO")],
    output: Annotated[Path | None, output_option("A folder, or a .png or .webp file for one photo.")] = None,
    instances: Annotated[bool, typer.Option("--instances", help="Each salient object by itself.")] = False,
    model: Model = "pocket",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all cores, if not given.", min=1)] = None,
) -> None:
    """Cut the main object out of photos, without a prompt.

    NAME.cutout.png is transparent around it, with soft edges.
    """
    from pocketsam.apps.cutout import cut_out_photos, open_both
    from pocketsam.predict.photo_files import check_all_done, find_photos

    paths = find_photos(photos)
    opened = open_both(model, instances, threads)
    check_all_done(show_outcomes(cut_out_photos(*opened, paths, output, instances), len(paths)))
