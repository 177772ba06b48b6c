"""The stream of training samples: sample number i of a run is the same whoever asks, whenever.

Photos and augmentation are drawn from (seed, i) alone, so neither workers, ranks nor interruptions change them.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pocketsam.errors import DataError
from pocketsam.training.config import Recipe

SEEDS = 1_000_003
"""The seeds of a run's samples, by their numbers, begin at this multiple of the run's seed."""
Item: TypeAlias = dict[str, Any]
"""One sample, or a batch of them: what the streams document."""


class SampleStream(Dataset[Item | DataError], ABC):
    """The samples of a run by number, each a function of its number alone; every photo once an epoch.

    seed: of the run. photos: how many there are; 0 where samples are made of none.
    """

    def __init__(self, seed: int, photos: int) -> None:
        self.seed, self.photos = seed, photos

    @abstractmethod
    def make(self, number: int, rng: np.random.Generator) -> Item:
        """Sample number `number`. Raises DataError where its photo cannot be used."""

    def __getitem__(self, number: int) -> Item | DataError:
        rng = np.random.default_rng((self.seed, number))
        try:
            arrays = self.make(number, rng)
        except DataError as error:
            return error  # raised by the loop: a worker would bury it under its own traceback
        return arrays | {"seed": self.seed * SEEDS + number}

    def photo_of(self, number: int) -> int:
        """Epoch after epoch, every photo once, in an order of its own."""
        epoch, position = divmod(number, self.photos)
        if self._epoch != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, 1, epoch)).permutation(self.photos)
        return int(self._order[position])

    _epoch = -1
    """The epoch that `_order` is of."""
    _order: NDArray[np.int64]


def batches(
    samples: Dataset[Item | DataError], recipe: Recipe, first_step: int, rank: int = 0, ranks: int = 1
) -> DataLoader[Item | DataError]:
    """The batches of this rank from `first_step` to the end of the run, each in `accumulate` parts.

    In place of one that broke, what broke it.
    """
    return DataLoader(
        samples,
        batch_size=recipe.batch // ranks // recipe.accumulate,
        sampler=_Numbers(first_step, recipe.last_step, recipe.batch, rank, ranks),
        num_workers=recipe.workers,
        worker_init_fn=_start_worker,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
    )


def _collate(items: list[Item | DataError]) -> Item | DataError:
    broken = next((item for item in items if isinstance(item, DataError)), None)
    return broken or cast(Item, default_collate(items))


def _start_worker(_: int) -> None:
    # The workers are the parallelism; OpenCV's own threads would compete with the model for the cores.
    cv2.setNumThreads(0)
    # Ctrl-C and `timeout` signal the whole process group: the loop finishes its step, which needs its workers, and
    # ends them itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class _Numbers(Sampler[int]):
    """This rank's sample numbers, from a step of the run on."""

    def __init__(self, first_step: int, last_step: int, batch: int, rank: int, ranks: int) -> None:
        self.steps = range(first_step, last_step)
        self.batch, self.rank, self.ranks = batch, rank, ranks

    def __iter__(self) -> Iterator[int]:
        for step in self.steps:
            yield from range(step * self.batch + self.rank, (step + 1) * self.batch, self.ranks)

    def __len__(self) -> int:
        return len(self.steps) * self.batch // self.ranks
