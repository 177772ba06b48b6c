"""`pocketsam serve`: a page to annotate photos in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.cli.options import Model, open_model, output_option, with_options
from pocketsam.config import Running
from pocketsam.utils.files import check_writable
from pocketsam.utils.install import importing


@with_options(running=Running)
def serve(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos, or folders of photos; more can be dropped on the page.", metavar="PHOTO"
        ),
    ] = None,
    output: Annotated[
        Path,
        output_option("The folder of the annotations, a NAME.masks.json for each photo.", "FOLDER"),
    ] = Path(),
    host: Annotated[
        str, typer.Option(help="The address to listen on; one that other computers can reach needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="POCKETSAM_TOKEN", help="A secret that each request must bring.", metavar="SECRET"
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    model: Model = "pocket",
    *,
    running: Running,
) -> None:
    """Annotate photos in the browser.

    Click on objects, or draw boxes around them, and export their masks. Every change is saved at once. Ctrl-C stops
    the server.
    """
    with importing("serve", "serve"):
        from pocketsam.server.run import address, listen
        from pocketsam.server.run import serve as run
        from pocketsam.server.service import Service

    check_writable(output, missing=True)
    listening = listen(host, port, token)
    service = Service(open_model(model, running), photos or [], output)
    page = address(listening, host, token)
    typer.echo(f"{page}  (Ctrl-C stops the server)")
    run(service, listening, host, token, page if browser else None)
