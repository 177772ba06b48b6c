"""Photos that show a quantiser which numbers a model computes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import ModelConfig
from pocketsam.data.datasets import evenly_spread, open_dataset
from pocketsam.errors import InputError
from pocketsam.predict.image import preprocess


def calibration_images(paths: Sequence[Path], count: int, config: ModelConfig) -> list[NDArray[np.float32]]:
    """`count` photos, spread evenly over a dataset, as the encoder takes them: (1, 3, S, S) each.

    paths: see `open_dataset`; masks are not needed. Raises DataError when one cannot be read, InputError when one is
    of a single colour.
    """
    dataset = open_dataset(paths, labelled=False)
    images = []
    for number in evenly_spread(len(dataset), count):
        sample = dataset.read(number)
        if (sample.image == sample.image[:1, :1]).all():
            raise InputError(
                f"{sample.location or sample.name}: is of one colour, which shows no range; take it away"
            )
        images.append(preprocess(sample.image, config))
    return images
