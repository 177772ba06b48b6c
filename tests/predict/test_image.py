import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketsam.config import ModelConfig
from pocketsam.errors import InputError
from pocketsam.predict.image import load_image, load_mask, preprocess


def file(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient() -> np.ndarray:
    """A photo (4, 6, 3) in which every pixel differs from the others."""
    return np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has width × height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def test_paths_bytes_images_and_arrays_give_the_same_pixels(tmp_path):
    pixels = gradient()
    image = Image.fromarray(pixels)
    path = tmp_path / "photo.png"
    path.write_bytes(file(image))
    with path.open("rb") as opened:
        sources = (path, str(path), path.read_bytes(), BytesIO(path.read_bytes()), opened, image, pixels)
        for source in sources:
            loaded = load_image(source)
            assert loaded.dtype == np.uint8
            np.testing.assert_array_equal(loaded, pixels)


def test_an_open_file_is_named_in_messages(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("just some text")
    with path.open("rb") as opened, pytest.raises(InputError, match=r"notes\.txt: is not an image"):
        load_image(opened)
    with pytest.raises(InputError, match="the photo: is empty"):
        load_image(BytesIO())
    with path.open() as opened, pytest.raises(InputError, match=r"a str is not a photo; .* binary mode"):
        load_image(opened)


@pytest.mark.parametrize(
    "url", ["https://example.org/a.jpg", "HTTP://example.org/a.jpg", "s3://bucket/a.jpg"]
)
def test_an_address_is_refused_as_one(url):
    for source in (url, Path(url)):
        with pytest.raises(InputError, match="is an address, which is not fetched; download the photo"):
            load_image(source)


def test_the_photo_is_a_copy_of_an_array_given():
    pixels = gradient()
    loaded = load_image(pixels)
    pixels[:] = 0
    assert loaded.any()


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda upright: upright),
        (2, np.fliplr),
        (3, lambda upright: np.rot90(upright, 2)),
        (4, np.flipud),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright, 1)),
        (7, lambda upright: np.rot90(upright, 2).transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_a_photo_stands_upright_whatever_way_the_camera_was_held(orientation, turn):
    upright = gradient()
    stored = Image.fromarray(np.ascontiguousarray(turn(upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_image(file(stored, exif=exif)), upright)


def test_a_photo_with_broken_exif_is_still_a_photo():
    loaded = load_image(file(Image.fromarray(gradient()), "JPEG", exif=b"Exif\x00\x00garbage"))
    assert loaded.shape == (4, 6, 3)


def test_grey_is_repeated_in_all_channels():
    grey = gradient()[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    for source in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(load_image(source), expected)


def test_transparent_parts_become_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0] = (200, 0, 0, 255)
    palette = Image.new("P", (2, 2))
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.paste(1, (0, 0, 2, 1))
    palette_file = file(palette, transparency=0)
    for source in (rgba, Image.fromarray(rgba), file(Image.fromarray(rgba)), palette_file):
        loaded = load_image(source)
        np.testing.assert_array_equal(loaded[0], [[200, 0, 0]] * 2)
        np.testing.assert_array_equal(loaded[1], [[255, 255, 255]] * 2)


def test_half_transparent_parts_are_mixed_with_white():
    grey_alpha = Image.new("LA", (1, 1), (100, 51))
    assert abs(int(load_image(grey_alpha)[0, 0, 0]) - (100 * 0.2 + 255 * 0.8)) <= 1


def test_deep_values_are_scaled_to_8_bits():
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    expected = [0, 1, 128, 255]
    for source in (
        deep,
        deep.astype(">u2"),
        file(Image.fromarray(deep)),
        deep / 65535,
        deep.astype(np.float32) / 65535,
    ):
        assert load_image(source)[0, :, 0].tolist() == expected


def test_bool_arrays_are_black_and_white():
    assert load_image(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]


def test_cmyk_is_converted():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    r, g, b = load_image(file(red, "JPEG"))[4, 4].astype(int)
    assert r > 200 and g < 80 and b < 80


def test_tiny_and_long_photos_load():
    assert load_image(Image.new("RGB", (1, 1))).shape == (1, 1, 3)
    assert load_image(Image.new("RGB", (4000, 3))).shape == (3, 4000, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"just some text", "is not an image that can be read"),
        (bomb(60_000, 60_000), "has more than 178 million pixels"),
        (bomb(13_400, 13_300), "has more than 178 million pixels"),
    ],
)
def test_files_that_are_no_photo_are_named(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"photo.jpg: {message}"):
        load_image(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_photos_are_named(tmp_path, samples, kept):
    content = (samples / "cap.jpg").read_bytes()
    path = tmp_path / "photo.jpg"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"photo.jpg: cannot be decoded \(.*truncated"):
        load_image(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.jpg: there is no such file"):
        load_image(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), 255.0), "from 0 to 1, these reach from 255 to 255"),
        ([[0, 1], [1, 0]], "a list is not a photo"),
    ],
)
def test_arrays_that_are_no_photo_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        load_image(array)


def test_masks_are_the_non_zero_or_the_visible_pixels(tmp_path):
    expected = np.array([[True, False], [False, True]])
    faint = expected.astype(np.uint8)
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 3] = faint * 255
    for pixels in (
        faint,
        expected,
        faint.astype(np.uint16),
        np.stack([faint * 0, faint, faint * 0], -1),
        rgba,
        np.dstack([faint * 255] * 3 + [np.full_like(faint, 255)]),  # opaque
    ):
        path = tmp_path / "mask.png"
        Image.fromarray(pixels).save(path)
        mask = load_mask(path)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, expected)


def test_masks_with_a_palette_are_what_it_shows(tmp_path):
    expected = np.array([[True, False], [False, True]])
    image = Image.fromarray((~expected).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])  # 0 is white
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.png"), expected)
    Image.fromarray(expected.astype(np.uint8)).convert("LA").save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "opaque.png"), expected)


def test_photos_of_32_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 200, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: holds int32"):
        load_image(tmp_path / "a.tif")


def test_preprocess_normalises_and_then_pads_with_zeros():
    config = ModelConfig("m", 64, "pad", mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    tensor = preprocess(np.full((30, 60, 3), 50, np.uint8), config)
    assert tensor.shape == (1, 3, 64, 64)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, :32], np.broadcast_to([[[20.0]], [[7.5]], [[4.0]]], (3, 32, 64)))
    assert (tensor[0, :, 32:] == 0).all()


def test_preprocess_can_squash():
    tensor = preprocess(
        np.full((30, 60, 3), 50, np.uint8), ModelConfig("m", 64, "squash", (0.0,) * 3, (1.0,) * 3)
    )
    assert (tensor == 50).all()
