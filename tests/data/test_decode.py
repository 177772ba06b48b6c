import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pocketsam.data.decode import decode_photo
from pocketsam.predict.formats.segmentation import to_rle
from pocketsam.utils.rle import decode, encode, run_lengths
from shards import blocks, jpeg, paint

(SQUARE,) = blocks((5, 5, 9, 9), size=(10, 12))


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_lengths_are_the_masks(mask: np.ndarray) -> None:
    runs = run_lengths(encode(mask)["counts"].encode())
    drawn = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.shape, order="F")
    np.testing.assert_array_equal(drawn, mask)


@given(st.binary(max_size=12))
def test_whatever_bytes_say_they_are_a_mask_or_refused(counts: bytes) -> None:
    try:
        rle = to_rle({"size": [10, 12], "counts": counts}, 10, 12)
    except ValueError as error:
        assert "damaged mask" in str(error)
        return
    assert encode(decode(rle))["size"] == [10, 12]


@pytest.mark.parametrize("form", ["compressed", "bytes", "runs", "polygon"])
def test_every_form_of_a_segmentation_is_read(form: str) -> None:
    compressed = encode(SQUARE)
    text = compressed["counts"].encode()
    segmentation = {
        "compressed": compressed,
        "bytes": {"size": (10, 12), "counts": text},
        "runs": {"size": [10, 12], "counts": run_lengths(text).tolist()},
        "polygon": [[5, 5, 9, 5, 9, 9, 5, 9]],
    }[form]
    assert to_rle(segmentation, 10, 12) == compressed


def test_the_polygons_of_one_mask_are_joined() -> None:
    polygons = [[0, 0, 4, 0, 4, 4, 0, 4], [5, 5, 9, 5, 9, 9, 5, 9]]
    both = blocks((0, 0, 4, 4), (5, 5, 9, 9), size=(10, 12)).any(axis=0)
    np.testing.assert_array_equal(decode(to_rle(polygons, 10, 12)), both)


SIZE = [10, 12]
BAD = [
    (None, "has no RLE mask"),
    ([], "has no RLE mask"),
    ({"size": SIZE}, "has no RLE mask"),
    ({"size": [12, 10], "counts": [120]}, r"size \[12, 10\], the photo has \(10, 12\)"),
    ({"counts": [120]}, "size None"),
    ({"size": SIZE, "counts": [100]}, "do not add up to the photo's 120"),
    ({"size": SIZE, "counts": [130, -10]}, "do not add up"),
    ({"size": SIZE, "counts": [2**63 - 1, 2**63 - 1, 122]}, "do not add up"),
    ({"size": SIZE, "counts": [60.0, 60.0]}, "do not add up"),
    ({"size": SIZE, "counts": ["a", 1]}, "list of numbers"),
    ({"size": SIZE, "counts": [2**70]}, "list of numbers"),
    ({"size": SIZE, "counts": 5}, "neither text nor numbers"),
    ({"size": SIZE, "counts": ""}, "no compressed COCO RLE"),
    ({"size": SIZE, "counts": "é"}, "no compressed COCO RLE"),
    ({"size": SIZE, "counts": encode(SQUARE)["counts"][:-2]}, "do not add up"),
    ({"size": SIZE, "counts": "P"}, "no compressed COCO RLE"),  # goes on, past its end
    ({"size": SIZE, "counts": "PPPPPPPPP1"}, "too long"),
    ([[1, 1, 5, 5]], "3 or more pairs"),
    ([[1, 1, 5, 1, 5, 5, 7]], "3 or more pairs"),
    ([1, 1, 5, 1, 5, 5], "list of numbers"),
    ([["a", 1, 5, 1, 5, 5]], "list of numbers"),
    ([[None, 1, 5, 1, 5, 5]], "list of numbers"),
    ([[[1, 1], [5, 1], [5, 5]]], "list of numbers"),
    ([[float("nan"), 1, 5, 1, 5, 5]], "far outside"),
    ([[1, 1, 5e8, 1, 5, 5]], "far outside"),  # as many bytes, if it were drawn
]


@pytest.mark.parametrize(("segmentation", "message"), BAD)
def test_what_is_no_mask_is_refused_in_one_line(segmentation: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        to_rle(segmentation, *SIZE)
    assert "\n" not in str(error.value)


def test_a_photo_is_read_as_it_is_stored() -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(paint(SQUARE[None])).save(stream, "PNG", exif=exif)
    np.testing.assert_array_equal(decode_photo(stream.getvalue()), paint(SQUARE[None]))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_a_photo_of_any_kind_has_three_channels(mode: str) -> None:
    image, stream = Image.fromarray(255 * SQUARE.astype(np.uint8)), io.BytesIO()
    image.convert(mode).save(stream, "PNG")
    assert decode_photo(stream.getvalue()).tolist() == np.repeat(255 * SQUARE[..., None], 3, axis=2).tolist()


def test_a_broken_or_huge_photo_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = jpeg(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))
    for encoded in (b"", b"text", whole[:200], whole[: len(whole) // 2]):
        with pytest.raises(ValueError, match="cannot be decoded"):
            decode_photo(encoded)
    monkeypatch.setattr("pocketsam.data.decode.MAX_PIXELS", 8099)
    with pytest.raises(ValueError, match="million pixels"):
        decode_photo(whole)
