"""What arrives of a photo: the regions well, the rest poorly, and something everywhere."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pocketsam.apps.transmission.codecs import CODECS, decode, encode
from pocketsam.apps.transmission.container import BACKGROUND, MASK, REGION, Packet
from pocketsam.apps.transmission.quality import psnr
from pocketsam.apps.transmission.semantic import TransmissionSettings, fill, receive, send
from pocketsam.errors import InputError

SMALL = TransmissionSettings(tile=32)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A picture (70, 90, 3) with detail everywhere."""
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (70, 90, 3), np.uint8), (0, 0), 1.5)


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    mask = np.zeros((70, 90), np.bool_)
    mask[20:50, 30:70] = True
    return mask


@pytest.mark.parametrize("codec", list(CODECS))
def test_regions_arrive_better_than_the_rest(photo, mask, codec: str) -> None:
    container = send(photo, mask, TransmissionSettings(codec=codec, quality=90, tile=64))
    received = receive(container)
    assert received.image.shape == photo.shape
    assert np.array_equal(received.mask, mask)
    assert received.unreadable == 0
    inside, outside = (psnr(photo, received.image, where) for where in (mask, ~mask))
    assert inside > outside + 5


def test_a_higher_quality_costs_more_and_gives_more(photo, mask) -> None:
    low, high = (send(photo, mask, replace(SMALL, quality=quality)) for quality in (20, 95))
    assert low.bytes < high.bytes
    assert psnr(photo, receive(low).image, mask) < psnr(photo, receive(high).image, mask)
    smaller = send(photo, np.zeros_like(mask), SMALL)
    assert not any(packet.kind == REGION for packet in smaller.packets)
    assert smaller.bytes < low.bytes


def test_only_tiles_with_a_region_are_sent_well(photo, mask) -> None:
    container = send(photo, mask, SMALL)
    tiles = {packet.number for packet in container.packets if packet.kind == REGION}
    assert tiles == {0, 1, 2, 3, 4, 5}  # 3 × 3 tiles, of which the last row has nothing of the mask


def test_lost_tiles_are_filled_and_a_lost_mask_leaves_the_background(photo, mask) -> None:
    container = send(photo, mask, SMALL)
    for kind in (MASK, BACKGROUND, REGION):
        rest = tuple(packet for packet in container.packets if packet.kind != kind)
        received = receive(replace(container, packets=rest))
        assert received.image.shape == photo.shape
        assert received.mask.any() == (kind != MASK)
    nothing = receive(replace(container, packets=()))
    assert (nothing.image == 128).all()
    background = tuple(p for p in container.packets if p.kind == BACKGROUND)
    half = receive(replace(container, packets=background[:1]))
    whole = receive(replace(container, packets=background))
    assert np.array_equal(half.image[:20, :20], whole.image[:20, :20])


def test_packets_with_nonsense_are_counted_not_decoded(photo, mask) -> None:
    container = send(photo, mask, SMALL)
    other = encode(photo[:5, :5], CODECS["webp"], 50)  # a picture, but not of the tile's size
    for content in (b"nonsense", b"", other):
        broken = tuple(Packet(p.kind, p.number, content) for p in container.packets)
        received = receive(replace(container, packets=broken))
        assert received.unreadable == len(container.packets)
        assert not received.mask.any()


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_damaged_pictures_raise_one_kind_of_error(content: bytes) -> None:
    for codec in CODECS.values():
        with pytest.raises(ValueError):
            decode(content, codec, (5, 5))


def test_filled_pixels_go_on_from_the_known_ones() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    known = np.zeros((40, 60), np.bool_)
    image[:, :20], known[:, :20] = 200, True
    image[:, 50:], known[:, 50:] = 100, True
    filled = fill(image, known)
    assert np.array_equal(filled[known], image[known])
    assert filled[~known].min() >= 100 and filled[~known].max() <= 200
    assert abs(int(filled[20, 21, 0]) - 200) < 15 and abs(int(filled[20, 48, 0]) - 100) < 15
    assert np.abs(np.diff(filled[20, 20:50, 0].astype(int))).max() < 40


@pytest.mark.parametrize(
    "values", [{"quality": 0}, {"background": 101}, {"scale": 0}, {"tile": 0}, {"codec": "heic"}]
)
def test_settings_refuse_what_makes_no_sense(values) -> None:
    with pytest.raises(InputError, match=str(next(iter(values)))):
        TransmissionSettings(**values)
