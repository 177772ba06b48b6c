"""The container: what is written is read, and whatever is broken costs no more than itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketsam.apps.transmission.channel import Channel
from pocketsam.apps.transmission.container import (
    BACKGROUND,
    HEADER_BYTES,
    MASK,
    PACKET_BYTES,
    REGION,
    Container,
    Packet,
    read,
    write,
)
from pocketsam.errors import InputError

packets = st.lists(
    st.builds(
        Packet, st.sampled_from([MASK, BACKGROUND, REGION]), st.integers(0, 2**32 - 1), st.binary(max_size=60)
    ),
    max_size=6,
)
containers = st.builds(
    lambda width, height, tile, packets: Container(width, height, "webp", 2, tile, tuple(packets)),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 4096),
    packets,
)


@settings(max_examples=30, deadline=None)
@given(containers)
def test_what_is_written_is_read(container: Container) -> None:
    content = write(container)
    assert len(content) == container.bytes
    assert read(content, "x") == container


@settings(max_examples=60, deadline=None)
@given(containers, st.data())
def test_a_broken_file_gives_its_whole_packets_or_one_line(container: Container, data: st.DataObject) -> None:
    content = bytearray(write(container))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(content), "broken.pssc")
    except InputError as error:
        assert str(error).startswith("broken.pssc: ")
        return
    assert set(found.packets) <= set(container.packets)
    assert found.lost + len(found.packets) == len(container.packets)


def test_behind_a_damaged_packet_the_next_is_found() -> None:
    all_packets = tuple(Packet(REGION, i, bytes([i]) * 20) for i in range(5))
    container = Container(60, 40, "webp", 1, 16, all_packets)
    content = bytearray(write(container))
    content[HEADER_BYTES + 2 * (PACKET_BYTES + 20) + 5] ^= (
        1  # in the head of packet 2, which says how long it is
    )
    found = read(bytes(content), "x")
    assert [packet.number for packet in found.packets] == [0, 1, 3, 4]
    assert found.lost == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda content: b"", "is no photo"),
        (lambda content: b"\x89PNG" + content[4:], "is no photo"),
        (lambda content: content[:9] + b"\xff" + content[10:], "its header is damaged"),
    ],
)
def test_without_its_header_it_is_refused(change, line: str) -> None:
    content = write(Container(6, 4, "jpeg", 1, 16, ()))
    with pytest.raises(InputError, match=f"^photo.pssc: {line}"):
        read(change(content), "photo.pssc")


def test_a_header_that_makes_no_sense_is_refused() -> None:
    for container in (Container(2**31, 2**31, "jpeg", 1, 16, ()), Container(6, 4, "jpeg", 0, 16, ())):
        with pytest.raises(InputError, match="makes no sense"):
            read(write(container), "x")


def test_a_channel_loses_packets_as_often_as_it_says_and_copies_help() -> None:
    all_packets = tuple(Packet(kind, i, b"") for kind in (BACKGROUND, REGION) for i in range(3000))
    container = Container(6, 4, "webp", 1, 16, all_packets)
    channel = Channel(loss=0.3, copies=2)
    arrived = channel.transmit(container, seed=1)
    counts = [sum(packet.kind == kind for packet in arrived.packets) for kind in (BACKGROUND, REGION)]
    assert np.allclose(np.array(counts) / 3000, [0.7, 0.91], atol=0.03)
    assert arrived.lost == 6000 - sum(counts)
    assert channel.transmit(container, seed=1) == arrived != channel.transmit(container, seed=2)
    assert channel.bytes(container) == container.bytes + 3000 * PACKET_BYTES
    assert Channel().transmit(container) == container


@pytest.mark.parametrize("values", [{"loss": -0.1}, {"loss": 1.5}, {"copies": 0}])
def test_a_channel_refuses_what_makes_no_sense(values) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        Channel(**values)


def test_what_was_lost_before_stays_lost() -> None:
    container = Container(6, 4, "webp", 1, 16, (Packet(REGION, 0, b""),), lost=2)
    assert Channel().transmit(container).lost == 2
    assert Channel(loss=1).transmit(container).lost == 3
