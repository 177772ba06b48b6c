"""The stream of training samples: sample number i of a run is the same whoever asks, whenever.

Photos and augmentation are drawn from (seed, i) alone, so neither workers, ranks nor interruptions change them.
"""

import signal
from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pocketsam.data.augment import Target, augment
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import DataError, Sample
from pocketsam.data.shapes import draw_scene
from pocketsam.training.recipe import DRAWN, Recipe

TRIES = 20


class Samples(Dataset[dict[str, Tensor] | DataError]):
    """All the samples of a run, by number."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.shards = None if recipe.train == DRAWN else Shards(recipe.train)
        if self.shards is not None and recipe.draw == "masks":
            counts = [self.shards.mask_count(i) for i in range(len(self.shards))]
            self.masks_before = np.cumsum(counts)
            if not self.masks_before[-1]:
                raise DataError(f"{recipe.train[0]}: not one of the photos has a mask")

    def __getitem__(self, number: int) -> dict[str, Tensor] | DataError:
        rng = np.random.default_rng((self.recipe.seed, number))
        try:
            target = self._target(number, rng)
        except DataError as error:
            return error  # raised by the loop: a worker would bury it under its own traceback
        return {
            "image": torch.from_numpy(np.ascontiguousarray(target.image)),
            "masks": torch.from_numpy(np.ascontiguousarray(target.masks)),
            "boxes": torch.from_numpy(target.boxes),
        }

    def _target(self, number: int, rng: np.random.Generator) -> Target:
        size, objects = self.recipe.image_size, self.recipe.objects
        if self.shards is None:
            return draw_scene(size, objects, rng)
        how = self.recipe.augmentation
        index = self._photo(number)
        for _ in range(TRIES):
            other = self._read(int(rng.integers(len(self.shards)))) if rng.random() < how.paste else None
            target = augment(self._read(index), other, size, objects, how, rng)
            if target is not None:
                return target
            index = int(rng.integers(len(self.shards)))  # nothing in it is large enough at this size
        raise DataError(
            f"{TRIES} photos in a row have no mask that can be seen at {size} x {size} pixels; raise image_size"
        )

    def _read(self, index: int) -> Sample:
        """A broken annotation stops the run: it is mended, or taken out, before hours of training."""
        assert self.shards is not None
        return self.shards.read(index).complete()

    def _photo(self, number: int) -> int:
        """Epoch after epoch, every photo once, in an order of its own; or the photo of a mask drawn at random."""
        assert self.shards is not None
        if self.recipe.draw == "masks":
            mask = np.random.default_rng((self.recipe.seed, 2, number)).integers(self.masks_before[-1])
            return int(np.searchsorted(self.masks_before, mask, side="right"))
        epoch, place = divmod(number, len(self.shards))
        if getattr(self, "_order_of", None) != epoch:
            self._order_of = epoch
            self._order = np.random.default_rng((self.recipe.seed, 1, epoch)).permutation(len(self.shards))
        return int(self._order[place])


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


def batches(
    recipe: Recipe, first_step: int, rank: int = 0, ranks: int = 1
) -> DataLoader[dict[str, Tensor] | DataError]:
    """The batches of this rank from `first_step` to the end of the run; in place of one, what broke it."""
    numbers = _Numbers(first_step, recipe.last_step, recipe.batch, rank, ranks)
    return DataLoader(
        Samples(recipe),
        batch_size=recipe.batch // ranks,
        sampler=numbers,
        num_workers=recipe.workers,
        worker_init_fn=_one_thread,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
    )


def _collate(items: list[dict[str, Tensor] | DataError]) -> dict[str, Tensor] | DataError:
    broken = next((item for item in items if isinstance(item, DataError)), None)
    return broken or cast(dict[str, Tensor], default_collate(items))


def _one_thread(_: int) -> None:
    # The workers are the parallelism; OpenCV's own threads would fight with the model for the cores.
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the loop, which ends them
