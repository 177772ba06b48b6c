"""The studies, a file each; a new one is a file here and a line in the table."""

from pocketsam.robustness.study import Study
from pocketsam.utils.tables import load

_TABLE = (
    "corruptions:Corruptions",
    "style:Style",
    "occlusion:Occlusion",
    "weather:Weather",
    "real_weather:RealWeather",
    "glass:Glass",
    "texture:TextureAgainstShape",
    "attacks:Attacks",
    "universal:Universal",
)
"""FILE:CLASS of each study, in the order in which help lists them."""

_CLASSES: list[type[Study]] = [load(__name__, entry) for entry in _TABLE]
STUDIES = {study.name: study for study in _CLASSES}
"""The studies by the name of their command."""
