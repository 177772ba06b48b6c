"""FastSAM (arXiv 2306.12156): all masks of a photo from one pass of a YOLOv8-seg network, before there is any prompt.

photo → network → boxes, scores and mask coefficients, prototypes → NMS → masks

The network is an ONNX file that the user has (`apps/yolo.py`). It gives 32 coefficients with each box. A mask is the
sum of the 32 prototypes, weighted by its coefficients, and cut off at its box (YOLACT, arXiv 1904.02689, section 3).
Prompts choose among the masks in `apps/mapping.py`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.yolo import Floats, Letterbox, YoloNetwork, select
from pocketsam.errors import ModelError
from pocketsam.predict.formats.labelled import LabelledObject, LabelledPhoto
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.utils.rle import RLE, encode_at

PROTOTYPES = 32
DYNAMIC_SIDE = 1024
"""Pixels a side of what a network gets that takes any size and does not say which it was trained on: FastSAM's."""
REMEDY = "give a YOLOv8-seg or FastSAM model that was exported to ONNX without NMS inside"


@dataclass(frozen=True, eq=False)
class Detections:
    """N objects of a photo, the most confident first: boxes (N, 4) XYXY in its pixels, scores (N,), classes (N,)."""

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]
    rle: list[RLE]


def decode(
    output: Floats, prototypes: Floats, place: Letterbox, confidence: float, same: float
) -> Detections:
    """The objects in what the network gives: output (4 + classes + 32, A) and prototypes (32, h, w).

    confidence: the least score of an object. same: of two boxes of one class with a larger IoU, one goes.
    """
    kept = select(output, confidence, same, PROTOTYPES)
    logits = np.tensordot(kept.rest, prototypes, 1).astype(np.float32)
    in_photo = place.boxes_to_photo(kept.boxes)
    parts = [place.mask_in_photo(*one) for one in zip(logits, in_photo, strict=True)]
    found = [i for i, (mask, _, _) in enumerate(parts) if mask.any()]
    rle = [encode_at(*parts[i], place.height, place.width) for i in found]
    return Detections(in_photo[found], kept.scores[found], kept.classes[found], rle)


class FastSAM:
    """A FastSAM or YOLOv8-seg network.

    path: the ONNX file. confidence, same: as `decode` has them; the defaults are those of FastSAM's own program.
    threads: CPU threads; all cores of this process when not given.
    Raises ModelError when the file cannot be read, or is another network.
    """

    def __init__(
        self, path: str | Path, confidence: float = 0.4, same: float = 0.9, threads: int | None = None
    ) -> None:
        self.confidence, self.same = confidence, same
        kind = "segmentation model of YOLOv8's form"
        self._network = YoloNetwork(path, [3, 4], kind, REMEDY, threads, DYNAMIC_SIDE)

    def everything(self, image: NDArray[np.uint8], file_name: str = "photo") -> LabelledPhoto:
        """All objects of a photo uint8 (H, W, 3) RGB, the most confident first, with their classes and scores.

        Raises ModelError when the network gives something else than YOLOv8-seg does.
        """
        place, (output, prototypes) = self._network.run(image)
        if len(prototypes) != PROTOTYPES or len(output) <= 4 + PROTOTYPES:
            raise ModelError(
                f"{self._network.path}: gives {(1, *output.shape)} and {(1, *prototypes.shape)}, not"
                f" (1, 4 + classes + 32, A) and 32 prototypes; {REMEDY}"
            )
        found = decode(output, prototypes, place, self.confidence, self.same)
        names = self._network.names
        objects = tuple(
            LabelledObject(rle, names.get(number, DEFAULT_NAME), round(float(score), 4))
            for rle, number, score in zip(found.rle, found.classes.tolist(), found.scores, strict=True)
        )
        return LabelledPhoto(file_name, image.shape[:2], objects, image)
