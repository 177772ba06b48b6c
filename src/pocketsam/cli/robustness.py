"""`pocketsam robustness STUDY DATA`: what changes a model's masks, and by how much, on any engine."""

from collections.abc import Mapping
from typing import Any

import typer

from pocketsam.cli.app import PLAIN
from pocketsam.cli.evaluate import Protocols


class Studies(Protocols):
    """The studies as commands, which are made as those of the protocols are."""

    kind = "study"

    def table(self) -> Mapping[str, Any]:
        """The studies by name."""
        from pocketsam.robustness.studies import STUDIES

        return STUDIES


robustness = typer.Typer(cls=Studies, no_args_is_help=True, **PLAIN)


@robustness.callback()
def _robustness() -> None:
    """Measure how robust a model is, as the papers do.

    Each study has its own --help, such as `pocketsam robustness corruptions --help`. The same command continues a run
    that was stopped or killed.
    """
