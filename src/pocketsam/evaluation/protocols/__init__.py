"""The protocols, a file each; a new one is a file here and a line in the table."""

from pocketsam.evaluation.protocol import Measurement
from pocketsam.utils.tables import load

_TABLE = (
    "clicks:Clicks",
    "interactive:Interactive",
    "boxes:Boxes",
    "agreement:Teacher",
    "proposals:Everything",
    "mapped:Mapped",
    "saliency:Saliency",
    "edges:Edges",
    "efficiency:Efficiency",
    "classification:Classification",
    "detection:Detection",
    "semantic:Semantic",
)
"""FILE:CLASS of each protocol, in the order in which help lists them."""

_CLASSES: list[type[Measurement]] = [load(__name__, entry) for entry in _TABLE]
PROTOCOLS = {protocol.name: protocol for protocol in _CLASSES}
"""The protocols by the name of their command."""
