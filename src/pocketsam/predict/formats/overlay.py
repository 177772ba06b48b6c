"""Overlays: pictures of the photo with the masks drawn on it."""

from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.formats.result import Result


def encode(result: Result, suffix: str) -> list[bytes]:
    """A PNG, JPEG or WebP file, whichever the suffix means."""
    return [encode_image(result.overlay(), suffix)]
