"""The studies, a file each; a new one is a file here and a line in the table."""

from importlib import import_module
from typing import cast

from pocketsam.robustness.study import Study

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


def _load(place: str) -> type[Study]:
    file, _, name = place.partition(":")
    return cast(type[Study], getattr(import_module(f"{__name__}.{file}"), name))


STUDIES = {study.name: study for study in map(_load, _TABLE)}
"""The studies by the name of their command."""
