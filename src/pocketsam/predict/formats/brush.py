"""The run lengths of Label Studio's brush: bits that stand for the bytes of an RGBA picture.

32 bits: how many bytes; 5 bits: bits of each value, less 1; four times 4 bits: sizes of lengths, in bits, less 1.
Then runs: 1 bit, whether one value is repeated; 2 bits, which size the length has; the length, less 1; and the value
or values. All four channels of a pixel are 255 inside the mask. (`label_studio_sdk.converter.brush`.)
"""

import numpy as np
from numpy.typing import NDArray

from pocketsam.utils.rle import RLE, decode, encode

_SIZES = (3, 4, 8, 16)
_CHANNELS = 4
_INSIDE = 128
"""The least alpha inside a mask."""


def to_brush(rle: RLE) -> list[int]:
    """The bytes of a mask, each from 0 to 255."""
    flat = decode(rle).ravel()
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, flat.size)
    bits = [f"{flat.size * _CHANNELS:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    start = 0
    for end in ends.tolist():
        value = "11111111" if flat[start] else "00000000"
        length = (end - start) * _CHANNELS
        while length:
            step = min(length, 1 << _SIZES[-1])
            which = next(i for i, size in enumerate(_SIZES) if step <= 1 << size)
            bits += ["1", f"{which:02b}", f"{step - 1:0{_SIZES[which]}b}", value]
            length -= step
        start = end
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def from_brush(values: list[int], size: tuple[int, int]) -> RLE:
    """The mask of the bytes in a photo of `size` (H, W). Raises ValueError where they are damaged."""
    try:
        picture = _bytes_of(bytes(values), size[0] * size[1] * _CHANNELS)
    except (TypeError, IndexError, ValueError) as error:
        raise ValueError(f"has a damaged mask: {error}") from error
    return encode(picture.reshape(*size, _CHANNELS)[..., -1] >= _INSIDE)


def _bytes_of(content: bytes, count: int) -> NDArray[np.uint8]:
    bits = "".join(map(_BITS.__getitem__, content))
    place = 0

    def take(width: int) -> int:
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    if take(32) != count:
        raise ValueError(f"it is not of {count} bytes, as its photo's size means")
    width = take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values, lengths, done = [], [], 0
    while done < count:
        repeated, size = take(1), sizes[take(2)]
        length = take(size) + 1
        one_each = 1 if repeated else length
        values += [take(width) for _ in range(one_each)]
        lengths += [length] if repeated else [1] * length
        done += length
    if done > count or place > len(bits) or max(values) > 255:
        raise ValueError("its runs do not fill the photo")
    return np.repeat(np.array(values, np.uint8), lengths)


_BITS = [f"{value:08b}" for value in range(256)]
