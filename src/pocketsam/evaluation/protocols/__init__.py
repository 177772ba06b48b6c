"""The protocols, a file each; a new one is a file here and a line in the table."""

from pocketsam.evaluation.protocol import Measurement
from pocketsam.evaluation.protocols.agreement import Teacher
from pocketsam.evaluation.protocols.boxes import Boxes
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.protocols.efficiency import Efficiency
from pocketsam.evaluation.protocols.interactive import Interactive
from pocketsam.evaluation.protocols.proposals import Everything

PROTOCOLS: dict[str, type[Measurement]] = {
    "clicks": Clicks,
    "interactive": Interactive,
    "boxes": Boxes,
    "teacher": Teacher,
    "everything": Everything,
    "efficiency": Efficiency,
}
"""The protocols by the name of their command."""
