"""The stream of training samples: sample number i of a run is the same whoever asks, whenever.

Photos and augmentation are drawn from (seed, i) alone, so neither workers, ranks nor interruptions change them. With
a teacher a photo is taken whole, as at inference, and its embedding comes with it: from the store, or to be made by
the teacher's encoder of the photo at its own size.
"""

import signal
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pocketsam.config import ModelConfig, Resize
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import DataError, Sample
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.predict.geometry import Geometry
from pocketsam.training.augment import Augmentation, Target, augment, whole_photo
from pocketsam.training.config import DRAWN, Recipe
from pocketsam.training.shapes import draw_scene

TRIES = 20
UNCHANGED = Augmentation(colour=0)


Item: TypeAlias = dict[str, Any]
"""One sample, or a batch of them: what `Samples` documents."""


class Samples(Dataset[Item | DataError]):
    """All the samples of a run, by number.

    Each holds name (str), seed (), image (3, S, S) uint8 and, where masks of people are learned, masks
    (N, S/4, S/4) uint8 and boxes (N, 4). With a teacher also extent (2,), the width and height of the photo in it,
    and embedding (256, g, g) float16 or teacher_image (3, T, T) uint8.

    resize: how photos are fitted into the model's square. teacher: what it expects of a photo, if it is to be asked.
    Raises DataError where nothing can be learned from the shards, or their photos have no embeddings.
    """

    def __init__(self, recipe: Recipe, resize: Resize = "squash", teacher: ModelConfig | None = None) -> None:
        self.recipe, self.resize, self.teacher = recipe, resize, teacher
        self.shards = None if recipe.train == DRAWN else Shards(recipe.train, labelled=recipe.needs_masks)
        self.store = EmbeddingStore(recipe.embeddings) if recipe.embeddings else None
        if self.store and self.shards:
            self.store.require(self.shards.entries)
        if self.shards is not None and recipe.draw == "masks":
            counts = [self.shards.mask_count(i) for i in range(len(self.shards))]
            self.masks_before = np.cumsum(counts)
            if not self.masks_before[-1]:
                raise DataError(f"{recipe.train[0]}: not one of the photos has a mask")

    def __getitem__(self, number: int) -> Item | DataError:
        rng = np.random.default_rng((self.recipe.seed, number))
        try:
            arrays = self._arrays(number, rng)
        except DataError as error:
            return error  # raised by the loop: a worker would bury it under its own traceback
        return arrays | {"seed": self.recipe.seed * 1_000_003 + number}

    def _arrays(self, number: int, rng: np.random.Generator) -> Item:
        if self.shards is None:
            return _tensors("a drawn scene", draw_scene(self.recipe.image_size, self.recipe.objects, rng))
        index = self._photo(number)
        for _ in range(TRIES):
            sample = self._read(index)
            target = self._whole(sample, rng) if self._takes_whole else self._augmented(sample, rng)
            if target is not None:
                return _tensors(str(self.shards[index]), target) | self._lesson(index, sample)
            index = int(rng.integers(len(self.shards)))  # nothing in it is large enough at this size
        size = self.recipe.image_size
        raise DataError(
            f"{TRIES} photos in a row have no mask that can be seen at {size} x {size} pixels; raise image_size"
        )

    @property
    def _takes_whole(self) -> bool:
        """A teacher sees photos as at inference; and a crop is no photo with padding."""
        return self.teacher is not None or self.resize == "pad"

    def _augmented(self, sample: Sample, rng: np.random.Generator) -> Target | None:
        assert self.shards is not None
        recipe, how = self.recipe, self.recipe.augmentation
        other = self._read(int(rng.integers(len(self.shards)))) if rng.random() < how.paste else None
        return augment(sample, other, recipe.image_size, recipe.objects, how, rng)

    def _whole(self, sample: Sample, rng: np.random.Generator) -> Target | None:
        recipe = self.recipe
        objects = recipe.objects if recipe.needs_masks else 0
        return whole_photo(sample, recipe.image_size, objects, self.resize, recipe.augmentation, rng)

    def _lesson(self, index: int, sample: Sample) -> Item:
        """What of a photo is for its teacher, or from it."""
        if self.teacher is None:
            return {}
        height, width = Geometry.of(self.teacher, *sample.image.shape[:2]).resized
        scale = self.recipe.image_size / self.teacher.image_size
        lesson = {"extent": torch.tensor([width, height]) * scale}
        if self.store:
            assert self.shards is not None
            embedding = self.store.read(self.shards[index])
            return lesson | {"embedding": torch.from_numpy(embedding.astype(np.float16))}
        size, rng = self.teacher.image_size, np.random.default_rng(0)
        photo = whole_photo(sample, size, 0, self.teacher.resize, UNCHANGED, rng)
        assert photo is not None
        return lesson | {"teacher_image": torch.from_numpy(np.ascontiguousarray(photo.image))}

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


def _tensors(name: str, target: Target) -> Item:
    item: Item = {"name": name, "image": torch.from_numpy(np.ascontiguousarray(target.image))}
    if not len(target.masks):
        return item
    masks = torch.from_numpy(np.ascontiguousarray(target.masks))
    return item | {"masks": masks, "boxes": torch.from_numpy(target.boxes)}


def batches(
    recipe: Recipe,
    first_step: int,
    rank: int = 0,
    ranks: int = 1,
    resize: Resize = "squash",
    teacher: ModelConfig | None = None,
) -> DataLoader[Item | DataError]:
    """The batches of this rank from `first_step` to the end of the run, each in `accumulate` parts.

    In place of one that broke, what broke it.
    """
    numbers = _Numbers(first_step, recipe.last_step, recipe.batch, rank, ranks)
    return DataLoader(
        Samples(recipe, resize, teacher),
        batch_size=recipe.batch // ranks // recipe.accumulate,
        sampler=numbers,
        num_workers=recipe.workers,
        worker_init_fn=_one_thread,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
    )


def _collate(items: list[Item | DataError]) -> Item | DataError:
    broken = next((item for item in items if isinstance(item, DataError)), None)
    return broken or cast(Item, default_collate(items))


def _one_thread(_: int) -> None:
    # The workers are the parallelism; OpenCV's own threads would fight with the model for the cores.
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the loop, which ends them
