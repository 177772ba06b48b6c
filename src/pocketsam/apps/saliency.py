"""The salient object of a photo, without a prompt: a small head on the embedding that prompts use, too.

EfficientSAM (arXiv 2312.00863, section on salient instance segmentation) takes a saliency map from a network of its
own, U²-Net, and prompts the model with 3 random points in each salient region. Here the map comes from the embedding,
so that one run of the encoder serves both.

    head = SaliencyHead()
    photo = Segmenter().open("photo.jpg")
    logits = head(photo)                          # above 0 where the photo is salient
    masks = salient_instances(photo, logits)      # one mask for each salient region
"""

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.saliency_head import SaliencyHead, encoder_of
from pocketsam.errors import InputError
from pocketsam.predict.masks import Masks
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.boxes import tight_box

POINTS = 3
"""In each salient region, as in EfficientSAM's paper."""
SMALLEST = 0.002
"""A salient region that is a smaller fraction of the photo is no object."""


class SalientSegmenter(Segmenter):
    """A `Segmenter` whose model has a saliency head, `head`. Its arguments, and the errors, are those of both."""

    def __init__(self, model: str | Path = "pocket", engine: str = "auto", **options: Any) -> None:
        super().__init__(model, engine, **options)
        self.head = SaliencyHead(model, options.get("threads"))


def open_encoder(model: str | Path = "pocket", threads: int | None = None) -> Segmenter:
    """A Segmenter that only encodes photos, for `SaliencyHead`. Raises as `encoder_of` does."""
    return Segmenter(engine=encoder_of(model, threads))


def salient_regions(photo: Photo, logits: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """The connected regions (H, W) of a photo's saliency, the largest first; none where nothing is salient."""
    salient = photo.geometry.logits_to_photo(logits) > 0
    count, numbers, statistics, _ = cv2.connectedComponentsWithStats(salient.view(np.uint8))
    areas = statistics[:, cv2.CC_STAT_AREA]
    large = [number for number in range(1, count) if areas[number] >= SMALLEST * salient.size]
    return [np.asarray(numbers == number) for number in sorted(large, key=lambda number: -areas[number])]


def salient_instances(
    photo: Photo, logits: NDArray[np.float32], by: Literal["boxes", "points"] = "boxes", seed: int = 0
) -> Masks:
    """The mask of each salient region, the largest region first.

    logits: what `SaliencyHead` gives of the photo. by: what prompts the model, the box of each region or, as in
    EfficientSAM's paper, 3 random points in it, which may mean a part of the object only. seed: of the points.
    Raises InputError when nothing is salient.
    """
    regions = salient_regions(photo, logits)
    if not regions:
        raise InputError(f"{photo.name or 'the photo'}: no salient object found")
    if by == "boxes":
        return photo.segment(boxes=[tight_box(region) for region in regions])
    rng = np.random.default_rng(seed)
    points = [rng.choice(np.argwhere(region), POINTS)[:, ::-1] for region in regions]
    return photo.segment(points=np.stack(points))
