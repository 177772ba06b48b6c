"""Training samples of a head whose encoder is frozen: embeddings of photos, computed once and kept in a file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from pocketsam.data.datasets import open_dataset
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Dataset
from pocketsam.engines import Engine
from pocketsam.errors import DataError, InputError
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.training.samples.stream import Item, SampleStream
from pocketsam.utils.progress import Progress
from pocketsam.utils.rle import decode, union


class StoredFeatures(SampleStream):
    """Each holds name (str), seed (), embedding (C, g, g) float16 and mask (4 g, 4 g) uint8, 255 inside.

    Half of the samples are mirror images, which are stored, too. A mask is the union of a photo's masks.

    Args:
        data: photos with masks. sources: those that are used, of shards; all, if none is given. seed: of the run.
        folder: where the embeddings are kept: 4 C g² bytes for each photo, in features-….npy. An interrupted run
            goes on with those that are there, and another run with the same encoder and photos uses them again.
        engine: what encodes.

    Raises:
        DataError: there is no such photo, or one has no mask. InputError: only shards have sources.
    """

    def __init__(
        self, data: Sequence[str] | str, sources: Sequence[str], seed: int, folder: Path, engine: Engine
    ) -> None:
        self.dataset = open_dataset([data] if isinstance(data, str) else data)
        self.numbers = _of_sources(self.dataset, sources)
        super().__init__(seed, len(self.numbers))
        marks = repr((engine.config.identity, data, len(self.dataset), self.numbers))
        self.path = folder / f"features-{hashlib.sha256(marks.encode()).hexdigest()[:12]}.npy"
        side, channels = engine.config.embedding_size, engine.config.embedding_channels
        self.embeddings = _open(self.path, (len(self.numbers), 2, channels, side, side), np.float16)
        masks = self.path.with_name(f"masks-{self.path.name}")
        # All 0 where a photo has not been encoded yet.
        self.masks = _open(masks, (len(self.numbers), 2, 4 * side, 4 * side), np.uint8)
        self._encode(engine)

    def make(self, number: int, rng: np.random.Generator) -> Item:
        """See `SampleStream.make`."""
        photo = self.photo_of(number)
        mirrored = int(rng.integers(2))
        return {
            "name": f"photo {self.numbers[photo]}",
            "embedding": torch.from_numpy(np.array(self.embeddings[photo, mirrored])),
            "mask": torch.from_numpy(np.array(self.masks[photo, mirrored])),
        }

    def _encode(self, engine: Engine) -> None:
        """Encode the photos that are not in the file yet; a mask is written after its photo's embeddings."""
        waiting = [i for i in range(self.photos) if not self.masks[i].any()]
        with Progress("photos encoded", self.photos, self.photos - len(waiting)) as progress:
            for i in waiting:
                sample = self.dataset.read(self.numbers[i]).promptable()
                if not sample.rles:
                    raise DataError(f"{sample.location or sample.name}: has no mask to learn from")
                geometry = Geometry.of(engine.config, *sample.image.shape[:2])
                for mirrored, image in enumerate((sample.image, sample.image[:, ::-1])):
                    pixels = preprocess(np.ascontiguousarray(image), engine.config)
                    self.embeddings[i, mirrored] = engine.encode(pixels)[0]
                mask = decode(union(sample.rles))
                both = (geometry.mask_to_model(one) for one in (mask, np.ascontiguousarray(mask[:, ::-1])))
                self.masks[i] = [np.rint(255 * (one / 20 + 0.5)) for one in both]
                progress.advance()


def _of_sources(dataset: Dataset, sources: Sequence[str]) -> list[int]:
    """The numbers of the samples that come from one of these sources; of all, where none is named."""
    if not sources:
        return list(range(len(dataset)))
    if not isinstance(dataset, Shards):
        raise InputError("sources: only shards and folders in SA-1B's layout have them; leave them out")
    found = [i for i in range(len(dataset)) if dataset.source(i) in sources]
    if not found:
        raise DataError(
            f"sources: no photo comes from {' or '.join(sources)}; leave them out, or name others"
        )
    return found


def _open(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[np.generic]:
    """The array in a file, which is made, full of zeros, where it is missing or of another shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            found = open_memmap(path, "r+")
        except ValueError:
            found = None
        if found is not None and found.shape == shape and found.dtype == dtype:
            return found
    return open_memmap(path, "w+", dtype, shape)
