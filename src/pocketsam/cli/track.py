"""`pocketsam track`: the masks of objects in all frames of a clip, from prompts on the first."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import Model, open_model, output_option, warn, with_options
from pocketsam.predict.prompt_arguments import ObjectArguments
from pocketsam.utils.running import Running


@with_options(args=ObjectArguments, running=Running)
def track(
    frames: Annotated[
        list[Path],
        typer.Argument(
            readable=False, help="A folder of frames, or frames in their order.", metavar="FRAMES"
        ),
    ],
    *,
    args: ObjectArguments,
    output: Annotated[Path, output_option("A folder.", "FOLDER")] = Path("tracks"),
    model: Model = "pocket",
    running: Running,
) -> None:
    """Carry the masks of objects through the frames of a clip.

    It writes NAME.overlay.jpg of each, and tracks.json (COCO). Prompts are of the first frame. In each further
    frame, the last mask is the prompt: there is no memory of earlier frames, so objects that are hidden, leave the
    picture or move fast are lost.
    """
    from pocketsam.apps.tracking import track_into

    result = track_into(open_model(model, running), frames, args.objects(), output)
    warn(result.warnings)
    typer.echo(f"{output}: {len(result.files) - 1} overlays and tracks.json")
