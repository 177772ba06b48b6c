"""What runs a model: `base.py` says what an engine is, `registry.py` which there are, and each has its own file."""

from pocketsam.engines.base import (
    Engine,
    EngineInfo,
    Prediction,
    PreparedImage,
    cores,
    decode,
    mask_or_none,
)
from pocketsam.engines.registry import DEVICES, ENGINES, PRECISIONS, open_engine

__all__ = [
    "DEVICES",
    "ENGINES",
    "PRECISIONS",
    "Engine",
    "EngineInfo",
    "Prediction",
    "PreparedImage",
    "cores",
    "decode",
    "mask_or_none",
    "open_engine",
]
