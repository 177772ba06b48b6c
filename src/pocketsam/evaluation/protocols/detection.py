"""Object detection and instance segmentation: COCO's average precision of boxes and of masks.

The measure of COCO (arXiv 1405.0312), by which EfficientSAM compares its pretraining with ViTDet's heads (arXiv
2312.00863, table 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pocketsam.data.coco import CocoSet
from pocketsam.data.sample import Sample
from pocketsam.errors import DataError
from pocketsam.evaluation.average_precision import average_precision
from pocketsam.evaluation.heads import CategoryProtocol, HeadPredictor, model_classes
from pocketsam.evaluation.results import PhotoResult, Report, Row, Table, percent
from pocketsam.predict.geometry import Geometry
from pocketsam.utils.rle import areas, boxes, encode_at

BOX_AP, MASK_AP, BOX_IOU, MASK_IOU = "box AP", "mask AP", "box IoU", "mask IoU"


@dataclass(frozen=True)
class Detection(CategoryProtocol):
    """Average precision of boxes and masks, by COCO's rules."""

    name: ClassVar[str] = "detection"
    summary: ClassVar[str] = "average precision of a detector's boxes and masks (EfficientSAM)"
    description: ClassVar[str] = (
        "Finds objects with a model that was trained by the method detection, and computes the average precision of"
        " boxes and masks by COCO's rules. DATA is a COCO .json."
    )
    follows: ClassVar[str] = "EfficientSAM (arXiv 2312.00863), Table 2"
    results: ClassVar[dict[str, str]] = {
        "AP, AP50, AP75": "AP in %: the mean over IoU thresholds from 0.5 to 0.95, at 0.5, and at 0.75",
        "APs, APm, APl": "AP in % of small (up to 32² pixels), medium (up to 96²) and large objects",
    }
    needs_counter: ClassVar[bool] = True
    task: ClassVar[str] = "detection"

    def __post_init__(self) -> None:
        if not isinstance(self.data.data, CocoSet):
            raise DataError("detection is measured on a COCO .json, whose categories name objects; give one")

    @property
    def headline(self) -> str:
        return MASK_IOU

    def measure(self, segmenter: HeadPredictor, sample: Sample, photo: int) -> PhotoResult:
        """The detections in a photo and, for each of its objects, the IoU of the best one of its class.

        Raises InputError where the model does not know a class of the data.
        """
        to_model = model_classes(self.data.classes, segmenter.engine.head.classes)
        of_data = {number: i for i, number in enumerate(to_model)}
        found = [one for one in detect(segmenter, sample.image) if one["class"] in of_data]
        found = [{**one, "class": of_data[one["class"]]} for one in found]
        rows = [
            _row(sample, i, [one for one in found if one["class"] == category])
            for i, category in enumerate(sample.categories)
        ]
        return PhotoResult(photo, sample.name, rows=rows, detections=found)

    def scores(self, results: Sequence[PhotoResult]) -> dict[str, float]:
        """See `HeadProtocol.scores`."""
        return {name: values["AP"] or 0.0 for name, values in self._precision(results)[0].items()}

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Average precision over all photos."""
        precision, left_out = self._precision(results)
        numbers = {"photos": len(results), "truth_left_out": len(left_out), **precision}
        numbers["detections"] = sum(len(result.detections) for result in results)
        lines = [[name, *map(percent, values.values())] for name, values in precision.items()]
        return Report(numbers, [Table("AP, %", ["of", *precision[BOX_AP]], lines)])

    def _precision(
        self, results: Sequence[PhotoResult]
    ) -> tuple[dict[str, dict[str, float | None]], list[str]]:
        """AP of boxes and, where there are masks, of masks; and what of the truth was left out, a line each."""
        data = self.data.data
        assert isinstance(data, CocoSet)
        truth, left_out = data.truth([result.photo for result in results])
        category_of = {number: id for id, number in self.data.class_of.items()}
        found = [
            {
                **one,
                "image_id": data.image_ids[result.photo],
                "category_id": category_of[one["class"]],
            }
            for result in results
            for one in result.detections
        ]
        precision = {BOX_AP: average_precision(truth, found, lvis=False, of="bbox")}
        if not found or "segmentation" in found[0]:
            precision[MASK_AP] = average_precision(truth, found, lvis=False)
        return precision, left_out


def detect(predictor: HeadPredictor, photo: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The objects in a photo (H, W, 3), the most confident first.

    Each has class, score, bbox (XYWH in the photo's pixels) and, of a model with masks, segmentation, an RLE.
    """
    height, width = photo.shape[:2]
    found = predictor(photo)
    geometry = Geometry.of(predictor.engine.config, height, width)
    corners = geometry.to_photo(found["boxes"].reshape(-1, 2, 2)).reshape(-1, 4)
    corners = corners.clip(0, (width, height, width, height))
    objects: list[dict[str, Any]] = []
    for i, (x0, y0, x1, y1) in enumerate(corners.astype(float).tolist()):
        one: dict[str, Any] = {"class": int(found["classes"][i]), "score": float(found["scores"][i])}
        one["bbox"] = [x0, y0, x1 - x0, y1 - y0]
        if "masks" in found:
            one["segmentation"] = paste(found["masks"][i], (x0, y0, x1, y1), height, width)
        objects.append(one)
    return objects


def paste(
    mask: NDArray[np.float32], box: tuple[float, float, float, float], height: int, width: int
) -> dict[str, Any]:
    """The RLE of a mask (h, w) of probabilities, which fills a box XYXY of a photo of height × width pixels.

    Each pixel whose centre lies in the box has the probability of the mask there, bilinearly.
    """
    x0, y0, x1, y1 = box
    left, top = max(0, int(np.floor(x0))), max(0, int(np.floor(y0)))
    right, bottom = min(width, int(np.ceil(x1))), min(height, int(np.ceil(y1)))
    rows, columns = mask.shape
    x = (np.arange(left, right) + 0.5 - x0) / max(x1 - x0, 1e-6) * columns - 0.5
    y = (np.arange(top, bottom) + 0.5 - y0) / max(y1 - y0, 1e-6) * rows - 0.5
    if not len(x) or not len(y):
        return encode_at(np.zeros((1, 1), np.bool_), 0, 0, height, width)
    across, down = (
        np.ascontiguousarray(np.broadcast_to(axis, (len(y), len(x))), np.float32)
        for axis in (x[None], y[:, None])
    )
    values = cv2.remap(mask, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return encode_at(np.asarray(values) > 0.5, left, top, height, width)


def _row(sample: Sample, i: int, found: Sequence[Mapping[str, Any]]) -> Row:
    """Object number i of a photo: its IoU with the best box and with the best mask among detections of its class."""
    truth = sample.rles[i]
    x0, y0, x1, y1 = boxes([truth])[0].tolist()
    scores: dict[str, float | None] = {BOX_IOU: 0.0, MASK_IOU: 0.0}
    row = Row(sample.ids[i], int(areas([truth])[0]), scores, truth=truth)
    if not found:
        return row
    of_boxes = coco.iou([one["bbox"] for one in found], [[x0, y0, x1 - x0, y1 - y0]], [0])[:, 0]
    scores[BOX_IOU], best = float(of_boxes.max()), int(of_boxes.argmax())
    if "segmentation" in found[0]:
        of_masks = coco.iou([one["segmentation"] for one in found], [truth], [0])[:, 0]
        scores[MASK_IOU], best = float(of_masks.max()), int(of_masks.argmax())
    x, y, w, h = found[best]["bbox"]
    return replace(row, prompt={"box": [x, y, x + w, y + h]}, answer=found[best].get("segmentation"))
