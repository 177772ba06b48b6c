"""Photos with N of their masks, or drawn scenes; for methods that prompt a model and compare its masks.

With a teacher a photo is taken whole, as at inference, and its embedding comes with it: from the store, or to be made
by the teacher's encoder of the photo at its own size.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import ModelConfig, Resize
from pocketsam.data.datasets import open_dataset
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.errors import DataError, InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.training.config import DRAWN, Augmentation, Recipe
from pocketsam.training.samples.augment import Target, augment, whole_photo
from pocketsam.training.samples.drawn import draw_scene
from pocketsam.training.samples.stream import Item, SampleStream

TRIES = 20
UNCHANGED = Augmentation(colour=0)


class MaskSamples(SampleStream):
    """All the samples of a run, by number.

    Each holds name (str), seed (), image (3, S, S) uint8 and, where `objects` are learned, masks (N, S/4, S/4) uint8
    and boxes (N, 4). With a teacher also extent (2,), the width and height of the photo in it, and embedding
    (C, g, g) float16 or teacher_image (3, T, T) uint8.

    Args:
        recipe: of the run.
        resize: how photos are fitted into the model's square.
        objects: masks of the ground truth in a sample; with 0, photos without masks serve as well.
        teacher: what the teacher expects of a photo, where it is needed.
        embeddings: the store of the teacher's.

    Raises:
        DataError: nothing can be learned from the data, or their photos have no embeddings.
    """

    def __init__(
        self,
        recipe: Recipe,
        resize: Resize,
        objects: int,
        teacher: ModelConfig | None = None,
        embeddings: str | None = None,
    ) -> None:
        self.recipe, self.resize, self.objects, self.teacher = recipe, resize, objects, teacher
        drawn = recipe.train == DRAWN
        self.dataset = None if drawn else open_dataset(list(recipe.train), labelled=objects > 0)
        super().__init__(recipe.seed, len(self.dataset) if self.dataset else 0)
        self.store = EmbeddingStore(embeddings) if embeddings else None
        if self.store:
            self.store.require(self._shards.entries)
        self.masks_before = self._count_masks() if recipe.draw == "masks" else None

    def make(self, number: int, rng: np.random.Generator) -> Item:
        """See `SampleStream.make`."""
        if self.dataset is None:
            return _tensors("a drawn scene", draw_scene(self.recipe.image_size, self.objects, rng))
        index = self.photo_of(number)
        for _ in range(TRIES):
            sample = self._read(index)
            target = self._whole(sample, rng) if self._takes_whole else self._augmented(sample, rng)
            if target is not None:
                return _tensors(sample.location or sample.name, target) | self._of_teacher(index, sample)
            index = int(rng.integers(len(self.dataset)))  # nothing in it is large enough at this size
        size = self.recipe.image_size
        raise DataError(
            f"{TRIES} photos in a row have no mask that can be seen at {size} x {size} pixels; raise image_size"
        )

    @property
    def _shards(self) -> Shards:
        """The data of a run with stored embeddings, which are those of shards and folders of photos."""
        if not isinstance(self.dataset, Shards):
            raise InputError(
                "embeddings are those of shards or folders of photos; leave them out for other data"
            )
        return self.dataset

    @property
    def _takes_whole(self) -> bool:
        """A teacher sees photos as at inference; and a crop is no photo with padding."""
        return self.teacher is not None or self.resize == "pad"

    def _augmented(self, sample: Sample, rng: np.random.Generator) -> Target | None:
        assert self.dataset is not None
        how = self.recipe.augmentation
        other = self._read(int(rng.integers(len(self.dataset)))) if rng.random() < how.paste else None
        return augment(sample, other, self.recipe.image_size, self.objects, how, rng)

    def _whole(self, sample: Sample, rng: np.random.Generator) -> Target | None:
        recipe = self.recipe
        return whole_photo(sample, recipe.image_size, self.objects, self.resize, recipe.augmentation, rng)

    def _of_teacher(self, index: int, sample: Sample) -> Item:
        """The teacher's embedding of a photo, or the photo as the teacher's encoder takes it."""
        if self.teacher is None:
            return {}
        height, width = Geometry.of(self.teacher, *sample.image.shape[:2]).resized
        scale = self.recipe.image_size / self.teacher.image_size
        item = {"extent": torch.tensor([width, height]) * scale}
        if self.store:
            embedding = self.store.read(self._shards[index])
            return item | {"embedding": torch.from_numpy(embedding.astype(np.float16))}
        size, rng = self.teacher.image_size, np.random.default_rng(0)
        photo = whole_photo(sample, size, 0, self.teacher.resize, UNCHANGED, rng)
        assert photo is not None
        return item | {"teacher_image": torch.from_numpy(np.ascontiguousarray(photo.image))}

    def _read(self, index: int) -> Sample:
        """A broken annotation in SA-1B's layout stops the run: it is mended before hours of training.

        Other layouts have annotations that are no objects, such as COCO's crowds; these are left out.
        """
        assert self.dataset is not None
        sample = self.dataset.read(index)
        return sample.complete() if isinstance(self.dataset, Shards) else sample.promptable()

    def photo_of(self, number: int) -> int:
        """Epoch after epoch, every photo once, in an order of its own; or the photo of a mask drawn at random."""
        assert self.dataset is not None
        if self.masks_before is not None:
            mask = np.random.default_rng((self.recipe.seed, 2, number)).integers(self.masks_before[-1])
            return int(np.searchsorted(self.masks_before, mask, side="right"))
        return super().photo_of(number)

    def _count_masks(self) -> NDArray[np.int64] | None:
        """How many masks the photos up to each one have; None for drawn scenes."""
        if self.dataset is None:
            return None
        counts = [self.dataset.mask_count(i) for i in range(len(self.dataset))]
        if not sum(counts):
            raise DataError(f"{self.recipe.train[0]}: not one of the photos has a mask")
        return np.cumsum(counts)


def _tensors(name: str, target: Target) -> Item:
    item: Item = {"name": name, "image": torch.from_numpy(np.ascontiguousarray(target.image))}
    if not len(target.masks):
        return item
    masks = torch.from_numpy(np.ascontiguousarray(target.masks))
    return item | {"masks": masks, "boxes": torch.from_numpy(target.boxes)}
