"""The stream of samples of masked pretraining: a crop of a photo, which patches are masked, a teacher's embedding.

The embedding is that of the whole photo, which `pocketsam embed` stored once; a crop of the photo has the same crop
of its embedding as its target, brought to the encoder's grid.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from pocketsam.config import Resize
from pocketsam.data.datasets import open_dataset
from pocketsam.data.sa1b import Shards
from pocketsam.embeddings.signature import EMBEDDING_STRIDE, Signature
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.errors import InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.training.samples.augment import random_window, scaled
from pocketsam.training.samples.stream import Item, SampleStream

SAM_CHANNELS = 256
"""Some encoders put finer feature maps beside the embedding that SAM's mask decoder expects; they are no target."""


class Views(SampleStream):
    """All samples of a run, by number.

    Each holds name (str), seed (), image (3, S, S) uint8, order (L,) int64, the numbers of its patches in a random
    order, and, with embeddings, target (channels, S/16, S/16) float16.

    Args:
        paths: the photos: shards, folders, folders of class folders, or any other layout; no masks are read.
        seed: of the run.
        size: S, in pixels.
        min_area: the smallest crop, as a fraction of the photo's area. flip: the probability that left becomes right.
        embeddings: where `pocketsam embed` stored a teacher's; only shards and folders can have any.

    Raises:
        DataError: there are no photos, or one has no embedding.
    """

    def __init__(
        self,
        paths: Sequence[str],
        seed: int,
        size: int,
        min_area: float,
        flip: float,
        embeddings: str | None = None,
    ) -> None:
        self.dataset = open_dataset(list(paths), labelled=False)
        super().__init__(seed, len(self.dataset))
        self.size, self.min_area, self.flip = size, min_area, flip
        self.store = EmbeddingStore(embeddings) if embeddings else None
        if self.store:
            self.store.require(self._shards.entries)

    @property
    def channels(self) -> int:
        """Of the target: those of the stored embeddings, of which SAM's 256 come first; 0 without any."""
        return min(SAM_CHANNELS, self.store.signature.embedding_channels) if self.store else 0

    def make(self, number: int, rng: np.random.Generator) -> Item:
        """See `SampleStream.make`."""
        index = self.photo_of(number)
        sample = self.dataset.read(index)
        height, width = sample.image.shape[:2]
        x0, y0, x1, y1 = window = random_window(height, width, self.min_area, rng)
        mirrored = rng.random() < self.flip
        order = rng.permutation((self.size // EMBEDDING_STRIDE) ** 2)
        image = scaled(sample.image[y0:y1, x0:x1], self.size)[:, :: -1 if mirrored else 1]
        item: Item = {
            "name": sample.location or sample.name,
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "order": torch.from_numpy(order),
        }
        if self.store:
            item["target"] = self._target(self.store, index, height, width, window, mirrored)
        return item

    def _target(
        self,
        store: EmbeddingStore,
        index: int,
        height: int,
        width: int,
        window: tuple[int, int, int, int],
        mirrored: bool,
    ) -> torch.Tensor:
        """The teacher's embedding of a window of a photo, on the encoder's grid: (channels, S/16, S/16) float16."""
        x0, y0, x1, y1 = window
        embedding = store.read(self._shards[index])[: self.channels]
        rows_filled, columns_filled = _cells(store.signature, height, width)
        side = self.size // EMBEDDING_STRIDE
        rows = resampling(y0 / height, (y1 - y0) / height, rows_filled, side)
        columns = resampling(x0 / width, (x1 - x0) / width, columns_filled, side)
        if mirrored:
            columns = columns[::-1]
        inside = embedding[:, : rows.shape[1], : columns.shape[1]]
        return torch.from_numpy((rows @ inside @ columns.T).astype(np.float16))

    @property
    def _shards(self) -> Shards:
        if not isinstance(self.dataset, Shards):
            raise InputError("embeddings are those of shards or folders of photos; give these to train on")
        return self.dataset


def _cells(signature: Signature, height: int, width: int) -> tuple[float, float]:
    """How many rows and columns of a teacher's embedding a photo fills; the rest of them is padding."""
    geometry = Geometry(height, width, signature.image_size, cast(Resize, signature.resize))
    rows, columns = geometry.resized
    return rows / EMBEDDING_STRIDE, columns / EMBEDDING_STRIDE


def resampling(start: float, length: float, filled: float, count: int) -> NDArray[np.float32]:
    """How `count` cells of a window are mixed from those of one axis of an embedding: (count, cells), rows sum to 1.

    Linear interpolation that averages where it shrinks, as `torch.nn.functional.interpolate(antialias=True)` does.

    start, length: of the window, as fractions of the photo. filled: how many cells the photo fills.
    """
    step = length * filled / count
    centres = start * filled + (np.arange(count) + 0.5) * step - 0.5
    cells = np.arange(np.ceil(filled))
    weights = np.clip(1 - np.abs(centres[:, None] - cells) / max(step, 1.0), 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
