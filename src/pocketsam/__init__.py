"""PocketSAM: Segment Anything, made small.

from pocketsam import Segmenter

photo = Segmenter().open("photo.jpg")       # runs the encoder, once
masks = photo.segment(points=[(120, 300)])  # runs the decoder, once a call
masks.save("photo.json")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocketsam.automatic.proposals import Proposals
    from pocketsam.errors import InputError, ModelError, PocketSAMError
    from pocketsam.predict.candidates import Candidates
    from pocketsam.predict.masks import Masks
    from pocketsam.segmenter import Photo, Segmenter

__version__ = "0.1.0"
__all__ = [
    "Candidates",
    "InputError",
    "Masks",
    "ModelError",
    "Photo",
    "PocketSAMError",
    "Proposals",
    "Segmenter",
    "__version__",
]

_MODULES = {
    "Candidates": "pocketsam.predict.candidates",
    "InputError": "pocketsam.errors",
    "Masks": "pocketsam.predict.masks",
    "ModelError": "pocketsam.errors",
    "Photo": "pocketsam.segmenter",
    "PocketSAMError": "pocketsam.errors",
    "Proposals": "pocketsam.automatic.proposals",
    "Segmenter": "pocketsam.segmenter",
}


def __getattr__(name: str) -> Any:
    # Segmenter brings numpy and OpenCV with it; `pocketsam --help` needs neither.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
