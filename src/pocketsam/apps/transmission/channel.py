"""A channel that loses packets, each independently of the others, and what helps against it: sending some twice."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pocketsam.apps.transmission.container import BACKGROUND, Container, Packet
from pocketsam.errors import InputError
from pocketsam.utils.options import option


@dataclass(frozen=True)
class Channel:
    """loss: the probability that a packet is lost. copies: how often what matters is sent: mask and regions.

    Raises InputError for values outside their range.
    """

    loss: float = field(
        default=0.0,
        metadata=option(float, "The probability that a packet is lost, from 0 to 1.", metavar="P"),
    )
    copies: int = field(
        default=1,
        metadata=option(int, "How often the mask and the regions are sent, against losses.", metavar="N"),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1:
            raise InputError(f"loss is {self.loss}; give a probability from 0 to 1")
        if self.copies < 1:
            raise InputError(f"copies is {self.copies}; what matters is sent at least once")

    def bytes(self, container: Container) -> int:
        """What is sent, copies and all."""
        again = sum(packet.bytes * (self._times(packet) - 1) for packet in container.packets)
        return container.bytes + again

    def transmit(self, container: Container, seed: int = 0) -> Container:
        """The container without the packets of which every copy was lost. The header always arrives."""
        rng = np.random.default_rng(seed)
        arrived = tuple(self._arriving(container.packets, rng))
        lost = container.lost + len(container.packets) - len(arrived)
        return replace(container, packets=arrived, lost=lost)

    def _arriving(self, packets: tuple[Packet, ...], rng: np.random.Generator) -> Iterator[Packet]:
        for packet in packets:
            if (rng.random(self._times(packet)) >= self.loss).any():
                yield packet

    def _times(self, packet: Packet) -> int:
        return 1 if packet.kind == BACKGROUND else self.copies
