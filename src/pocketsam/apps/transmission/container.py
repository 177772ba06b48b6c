"""The container of a sent photo: a header, and packets that are each of use without the others.

    header   "PSSC", version (1 byte), codec (1), scale of the background (1), reserved (1), width (4), height (4),
             tile (2), packets (4), crc32 of all that (4)
    packet   kind (1), number (4), bytes (4), crc32 of these and of the content (4), content

Numbers are little-endian. A damaged packet is as a lost one: the reader goes on behind it, and counts it. Without its
header, a container is refused.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pocketsam.apps.transmission.codecs import CODECS
from pocketsam.errors import InputError
from pocketsam.predict.image import MAX_PIXELS

MAGIC, VERSION = b"PSSC", 1
_HEADER, _PACKET = struct.Struct("<4sBBBxIIHI"), struct.Struct("<BII")
_CRC = struct.Struct("<I")
HEADER_BYTES, PACKET_BYTES = _HEADER.size + _CRC.size, _PACKET.size + _CRC.size

MASK, BACKGROUND, REGION = 0, 1, 2
"""The kinds of packets: the mask's run lengths, a tile of the background, a tile of the regions."""


class Packet(NamedTuple):
    """What is sent or lost as a whole. kind: MASK, BACKGROUND or REGION. number: of the tile, row by row."""

    kind: int
    number: int
    content: bytes

    @property
    def bytes(self) -> int:
        """With what the container adds."""
        return PACKET_BYTES + len(self.content)


@dataclass(frozen=True)
class Container:
    """A photo of `height` × `width` pixels as packets.

    codec: a name in CODECS. scale: by which the background's sides were divided. tile: pixels a side of a tile.
    lost: how many packets of those that were written are not in it.
    """

    width: int
    height: int
    codec: str
    scale: int
    tile: int
    packets: tuple[Packet, ...]
    lost: int = 0

    @property
    def bytes(self) -> int:
        """Of the whole container."""
        return HEADER_BYTES + sum(packet.bytes for packet in self.packets)


def write(container: Container) -> bytes:
    """The container as the content of a file."""
    one = container
    header = _HEADER.pack(
        MAGIC, VERSION, CODECS[one.codec].number, one.scale, one.width, one.height, one.tile, len(one.packets)
    )
    return header + _CRC.pack(zlib.crc32(header)) + b"".join(_packed(packet) for packet in one.packets)


def read(content: bytes, name: str) -> Container:
    """The container in a file's content; packets that are damaged or missing are counted as lost.

    name: of the file, for errors. Raises InputError where the header is missing, damaged, or of another version.
    """
    if len(content) < HEADER_BYTES or content[: len(MAGIC)] != MAGIC:
        raise InputError(f"{name}: is no photo that pocketsam transmit wrote")
    header = content[: _HEADER.size]
    _, version, number, scale, width, height, tile, count = _HEADER.unpack(header)
    if _CRC.unpack(content[_HEADER.size : HEADER_BYTES])[0] != zlib.crc32(header):
        raise InputError(f"{name}: its header is damaged; get the file again")
    if version != VERSION:
        raise InputError(f"{name}: is of version {version}, and this PocketSAM reads version {VERSION}")
    codec = next((name for name, codec in CODECS.items() if codec.number == number), None)
    if codec is None or not (scale and tile and 0 < width * height <= MAX_PIXELS):
        raise InputError(f"{name}: its header makes no sense; get the file again")
    packets = tuple(_packets(content[HEADER_BYTES:], count))
    return Container(width, height, codec, scale, tile, packets, count - len(packets))


def _packed(packet: Packet) -> bytes:
    head = _PACKET.pack(packet.kind, packet.number, len(packet.content))
    return head + _CRC.pack(zlib.crc32(packet.content, zlib.crc32(head))) + packet.content


def _packets(content: bytes, count: int) -> Iterator[Packet]:
    """At most `count` whole packets. Behind a damaged one, the next begins where its checksum is right again."""
    at = found = 0
    while found < count and at + PACKET_BYTES <= len(content):
        packet = _packet_at(content, at)
        if packet is None:
            at += 1
            continue
        yield packet
        found += 1
        at += packet.bytes


def _packet_at(content: bytes, at: int) -> Packet | None:
    head = content[at : at + _PACKET.size]
    kind, number, size = _PACKET.unpack(head)
    start = at + PACKET_BYTES
    if kind > REGION or start + size > len(content):
        return None
    body = content[start : start + size]
    if _CRC.unpack(content[start - _CRC.size : start])[0] != zlib.crc32(body, zlib.crc32(head)):
        return None
    return Packet(kind, number, body)
