"""Tar archives, member by member, of no time and no owner: the same files give the same bytes.

Members can be joined as bytes, wherever they were made: `header(…) + content + padding(…)` for each, then `END`.
"""

import tarfile

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
"""What an archive ends with."""


def header(name: str, size: int) -> bytes:
    """The header of a file of so many bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows a content of so many bytes."""
    return bytes(-size % BLOCK)


def member(name: str, content: bytes) -> bytes:
    """A whole member."""
    return b"".join((header(name, len(content)), content, padding(len(content))))
