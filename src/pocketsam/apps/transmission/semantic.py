"""What matters in a photo well, the rest poorly: a photo and a mask to packets, and back.

The background is the whole photo, made smaller and coded coarsely, so that something is there wherever a packet is
lost. The regions are coded finely, in tiles, and only where the mask is: what else a tile holds is filled smoothly,
which costs hardly a bit. The mask goes beside them, as run lengths.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.transmission.codecs import CODECS, decode, encode, find_codec
from pocketsam.apps.transmission.container import BACKGROUND, MASK, REGION, Container, Packet
from pocketsam.errors import InputError
from pocketsam.utils.options import option
from pocketsam.utils.rle import RLE, run_lengths
from pocketsam.utils.rle import decode as decode_mask
from pocketsam.utils.rle import encode as encode_mask

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TransmissionSettings:
    """How a photo is sent.

    codec: a name in CODECS. quality: of the regions, from 1 to 100; background: of the rest. scale: by which the
    sides of the background are divided. tile: pixels a side of the tiles, which are lost or received as a whole.
    Raises InputError for values outside their range, and for a codec that there is not.
    """

    codec: str = field(
        default="webp", metadata=option(str, "The picture codec: webp, jpeg or avif.", metavar="CODEC")
    )
    quality: int = field(
        default=80, metadata=option(int, "The quality of the regions, from 1 to 100.", metavar="Q")
    )
    background: int = field(
        default=10, metadata=option(int, "The quality of the rest, from 1 to 100.", metavar="Q")
    )
    scale: int = field(
        default=2, metadata=option(int, "By how much the sides of the rest are made smaller.", metavar="N")
    )
    tile: int = field(
        default=128,
        metadata=option(int, "Pixels a side of the tiles; a lost packet costs a tile.", metavar="N"),
    )

    def __post_init__(self) -> None:
        find_codec(self.codec)
        for name, most in (("quality", 100), ("background", 100), ("scale", 16), ("tile", 4096)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise InputError(f"{name} is {value}; give a whole number from 1 to {most}")


def send(photo: Image, mask: Mask, settings: TransmissionSettings) -> Container:
    """The packets of a photo uint8 (H, W, 3) whose regions that matter are `mask` (H, W)."""
    height, width = photo.shape[:2]
    codec, tile = CODECS[settings.codec], settings.tile
    packets = [Packet(MASK, 0, _packed_mask(mask))]
    small = _smaller(photo, settings.scale)
    for number, (rows, columns) in enumerate(_tiles(small.shape[:2], tile)):
        content = encode(np.ascontiguousarray(small[rows, columns]), codec, settings.background)
        packets.append(Packet(BACKGROUND, number, content))
    for number, (rows, columns) in enumerate(_tiles((height, width), tile)):
        if mask[rows, columns].any():
            filled = fill(photo[rows, columns], mask[rows, columns])
            packets.append(Packet(REGION, number, encode(filled, codec, settings.quality)))
    return Container(width, height, settings.codec, settings.scale, tile, tuple(packets))


@dataclass(frozen=True)
class Received:
    """A photo as it arrived. image: uint8 (H, W, 3). mask: (H, W), the regions that were sent well; empty where their
    mask was lost. unreadable: packets that arrived, but could not be decoded.
    """

    image: Image
    mask: Mask
    unreadable: int


def receive(container: Container) -> Received:
    """The photo of a container, whatever is missing in it: lost tiles are filled from what is around them."""
    size = container.height, container.width
    mask, unreadable = _mask_of(container)
    small = _smaller_size(size, container.scale)
    image, there, bad = _assembled(container, BACKGROUND, small)
    image = fill(image, there) if there.any() else np.full_like(image, 128)
    image = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    regions, there, also_bad = _assembled(container, REGION, size)
    where = mask & there
    image[where] = regions[where]
    return Received(image, mask, unreadable + bad + also_bad)


def _assembled(container: Container, kind: int, size: tuple[int, int]) -> tuple[Image, Mask, int]:
    """A layer (H, W, 3) of its tiles, where they are there, and how many could not be decoded."""
    image, there, unreadable = np.zeros((*size, 3), np.uint8), np.zeros(size, np.bool_), 0
    received = {packet.number: packet.content for packet in container.packets if packet.kind == kind}
    for number, (rows, columns) in enumerate(_tiles(size, container.tile)):
        if number not in received:
            continue
        part = rows.stop - rows.start, columns.stop - columns.start
        try:
            image[rows, columns] = decode(received[number], CODECS[container.codec], part)
            there[rows, columns] = True
        except ValueError:
            unreadable += 1
    return image, there, unreadable


def _tiles(size: tuple[int, int], tile: int) -> Iterator[tuple[slice, slice]]:
    """The tiles of a picture of `size` (H, W), row by row; those at the end are smaller."""
    for top in range(0, size[0], tile):
        for left in range(0, size[1], tile):
            yield slice(top, min(top + tile, size[0])), slice(left, min(left + tile, size[1]))


def _smaller_size(size: tuple[int, int], scale: int) -> tuple[int, int]:
    return max(1, -(-size[0] // scale)), max(1, -(-size[1] // scale))


def _smaller(photo: Image, scale: int) -> Image:
    height, width = _smaller_size(photo.shape[:2], scale)
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def fill(image: Image, known: Mask) -> Image:
    """A picture (H, W, 3) whose pixels that are not `known` (H, W) are smooth, and go on from those that are.

    Pull and push (Gortler et al., SIGGRAPH 1996): means over ever larger squares, taken from the smallest that knows.
    """
    if known.all():
        return image
    weight = known.astype(np.float32)
    colour = image.astype(np.float32) * weight[..., None]
    return np.asarray(np.rint(_pushed(colour, weight)).clip(0, 255), np.uint8)


def _pushed(colour: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (H, W, 3), each times its weight (H, W) from 0 to 1: where it is below 1, a coarser level adds."""
    height, width = weight.shape
    own = colour
    if min(weight.min(), 1) < 1 and max(height, width) > 1:
        half = -(-width // 2), -(-height // 2)
        coarse = cv2.resize(np.dstack([colour, weight]), half, interpolation=cv2.INTER_AREA)
        sums, weights = coarse[..., :3], coarse[..., 3]
        full = np.minimum(1, weights * 4)  # a square with a known pixel knows enough
        scaled = sums * (full / np.maximum(weights, 1e-6))[..., None]
        below = _pushed(np.asarray(scaled, np.float32), np.asarray(full, np.float32))
        below = np.asarray(cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        own = colour + (1 - weight[..., None]) * below.reshape(height, width, 3)
    return np.asarray(own, np.float32)


def _packed_mask(mask: Mask) -> bytes:
    rle = encode_mask(mask)
    return zlib.compress(rle["counts"].encode(), 9)


def _mask_of(container: Container) -> tuple[Mask, int]:
    """The mask (H, W), and 1 where its packet cannot be decoded; an empty mask then, and where it is lost."""
    size = container.height, container.width
    for packet in container.packets:
        if packet.kind != MASK:
            continue
        try:
            return decode_mask(_rle(packet.content, size)), 0
        except (ValueError, zlib.error):
            return np.zeros(size, np.bool_), 1
    return np.zeros(size, np.bool_), 0


def _rle(content: bytes, size: tuple[int, int]) -> RLE:
    """The run lengths in a packet. Raises ValueError or zlib.error where they are no mask of `size` (H, W)."""
    expander = zlib.decompressobj()
    counts = expander.decompress(content, 16 * size[0] * size[1] + 64)
    lengths = run_lengths(counts)
    if lengths.min() < 0 or lengths.sum() != size[0] * size[1]:
        raise ValueError("the run lengths are of another size")
    return {"size": list(size), "counts": counts.decode("ascii")}
