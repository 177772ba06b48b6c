"""The protocols, a file each; a new one is a file here and a line in the table."""

from importlib import import_module
from typing import cast

from pocketsam.evaluation.protocol import Measurement

_TABLE = (
    "clicks:Clicks",
    "interactive:Interactive",
    "boxes:Boxes",
    "agreement:Teacher",
    "proposals:Everything",
    "efficiency:Efficiency",
    "classification:Classification",
    "detection:Detection",
    "semantic:Semantic",
)
"""FILE:CLASS of each protocol, in the order in which help lists them."""


def _load(place: str) -> type[Measurement]:
    file, _, name = place.partition(":")
    return cast(type[Measurement], getattr(import_module(f"{__name__}.{file}"), name))


PROTOCOLS = {protocol.name: protocol for protocol in map(_load, _TABLE)}
"""The protocols by the name of their command."""
