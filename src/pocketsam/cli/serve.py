"""`pocketsam serve`: a page to annotate photos in the browser."""

import typer

from pocketsam.cli.options import Model, open_model, with_options
from pocketsam.server.arguments import ServeArguments
from pocketsam.utils.files import check_writable
from pocketsam.utils.install import importing
from pocketsam.utils.running import Running


@with_options(settings=ServeArguments, running=Running)
def serve(*, settings: ServeArguments, model: Model = "pocket", running: Running) -> None:
    """Annotate photos in the browser.

    Click on objects, or draw boxes around them, and export their masks. Every change is saved at once. Ctrl-C stops
    the server.
    """
    with importing("serve", "serve"):
        from pocketsam.server.run import address, listen
        from pocketsam.server.run import serve as run
        from pocketsam.server.service import Service

    check_writable(settings.output, missing=True)
    listening = listen(settings.host, settings.port, settings.token)
    service = Service(open_model(model, running), settings.photos or [], settings.output)
    page = address(listening, settings.host, settings.token)
    typer.echo(f"{page}  (Ctrl-C stops the server)")
    run(service, listening, settings.host, settings.token, page if settings.browser else None)
