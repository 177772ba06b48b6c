"""`pocketsam transmit`: a photo in few bits, of which most go where they matter."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.apps.transmission.channel import Channel
from pocketsam.apps.transmission.semantic import TransmissionSettings
from pocketsam.cli.options import Model, output_option, show, with_options
from pocketsam.predict.prompt_arguments import ObjectArguments


@with_options(args=ObjectArguments, settings=TransmissionSettings, channel=Channel)
def transmit(
    photo: Annotated[
        Path, typer.Argument(readable=False, help="A photo, or a .pssc file to receive.", metavar="PHOTO")
    ],
    *,
    args: ObjectArguments,
    settings: TransmissionSettings,
    channel: Channel,
    output: Annotated[
        Path | None, output_option("A folder; the working directory, if not given.", "FOLDER")
    ] = None,
    model: Model = "pocket",
) -> None:
    """Send what matters in a photo well, and the rest poorly.

    NAME.pssc is what is sent, NAME.received.png the photo as it arrives. What matters are the objects at --point and
    --box or, without these, the salient object.
    """
    from pocketsam.apps.transmission.files import transmit_file
    from pocketsam.utils.files import with_sizes

    done = transmit_file(photo, args.objects(), settings, channel, output, model)
    show((*done.lines, *with_sizes(done.files)))
