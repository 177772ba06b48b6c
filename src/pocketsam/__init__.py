"""PocketSAM: Segment Anything, made small.

from pocketsam import Segmenter

photo = Segmenter().open("photo.jpg")       # the encoder runs once…
masks = photo.segment(points=[(120, 300)])  # …the decoder as often as you ask
masks.save("photo.json")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocketsam.segmenter import Segmenter

__version__ = "0.1.0"
__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    # Segmenter brings numpy and OpenCV with it; `pocketsam --help` needs neither.
    if name == "Segmenter":
        from pocketsam.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
