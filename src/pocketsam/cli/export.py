"""`pocketsam export TARGET`: a model for another place to run in; a command for each target."""

import typer

from pocketsam import zoo
from pocketsam.cli.app import PLAIN
from pocketsam.cli.options import show, with_options
from pocketsam.export.targets import TARGETS
from pocketsam.export.targets.base import Target
from pocketsam.utils.files import check_writable
from pocketsam.utils.install import importing

export = typer.Typer(no_args_is_help=True, **PLAIN)


@export.callback()
def _export() -> None:
    """Make a model ready for another place to run in, such as a browser."""


def _command(target: type[Target]) -> None:
    """Add the command of a target."""

    def write(*, wanted: Target) -> None:
        from pocketsam.data.calibration import calibration_images

        check_writable(wanted.output, missing=True)
        with importing("export", "exporting"):
            show(wanted.export(zoo, calibration_images))

    command = export.command(target.name, help=target.description, short_help=target.summary)
    command(with_options(wanted=target)(write))


for _target in TARGETS.values():
    _command(_target)
