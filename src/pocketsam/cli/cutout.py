"""`pocketsam cutout`: the salient object of photos, without a prompt, with everything else transparent."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import Model, output_option


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
    from pocketsam.apps.cutout import cut_out_photos
    from pocketsam.apps.saliency import SaliencyHead, open_encoder
    from pocketsam.predict.photo_files import check_all_done, find_photos
    from pocketsam.segmenter import Segmenter

    paths = find_photos(photos)
    with ThreadPoolExecutor() as pool:  # the two are opened at the same time
        opened = pool.submit(SaliencyHead, model, threads)
        segmenter = Segmenter(model, "onnx", threads=threads) if instances else open_encoder(model, threads)
        head = opened.result()
    outcomes = []
    for outcome in cut_out_photos(segmenter, head, paths, output, instances):
        outcomes.append(outcome)
        if outcome.error and len(paths) > 1:
            typer.echo(f"pocketsam: {outcome.error}", err=True)
        for file in outcome.files:
            typer.echo(f"  {file}")
    check_all_done(outcomes)
