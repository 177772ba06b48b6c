"""Instance segmentation: a detector finds and names the objects, and the model gives their masks.

The protocol of TinySAM (arXiv 2312.13789, Table 1) and EfficientSAM (arXiv 2312.00863, Table 5), with which MobileSAM
is measured too: every box of a detector is a prompt, the mask keeps the detector's category and score, and mask AP is
counted as COCO and LVIS count it. The papers choose differently among the three masks of the decoder's multimask
output, so all rules are measured:

- predicted IoU: the mask that the model itself is most confident of (TinySAM);
- box IoU: the mask whose tightest box has the highest IoU with the prompt's box (EfficientSAM, which leaves open what
  of the mask is compared). Box with box, as the right mask of a thin or slanting object fills little of its box;
- single: the mask that a user gets, which for SAM is mask 0.

The three are masks 1 to 3 for every model, as in the papers. FastSAM, with which TinySAM's table compares, has no
prompts: there a box chooses among masks that were found before (`apps/mapping.py`), a rule that is measured if asked.
"""

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pocketsam.apps.mapping import PromptMapping, masks_to_map, open_fastsam
from pocketsam.data.coco import CocoSet
from pocketsam.data.sample import Dataset, Sample
from pocketsam.errors import InputError
from pocketsam.evaluation.average_precision import LVIS_LIMIT, average_precision, require_counter
from pocketsam.evaluation.protocol import EvaluationProtocol, OpenModel
from pocketsam.evaluation.results import PhotoResult, Report, Row, Table, percent
from pocketsam.predict.candidates import Candidates, choose
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import option
from pocketsam.utils.rle import RLE

PREDICTED_IOU, BOX_IOU, SINGLE = RULES = ("predicted IoU", "box IoU", "single")
"""The rules by which one mask of a box is chosen."""
MAPPED = "mapped"
"""The rule that chooses among masks that were found before there were boxes."""

_DETECTION = np.dtype([("image_id", "f8"), ("category_id", "f8"), ("score", "f8"), ("bbox", "f8", 4)])


class Detections:
    """A detector's boxes, by photo, from a results file in COCO's form.

    rows: (N,) of image_id, category_id, score and bbox (XYWH, pixels), in the file's order. Other keys are not kept.
    Raises InputError when the file cannot be read or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = _read(path)
        order = np.argsort(self.rows["image_id"], kind="stable")
        photos, starts = np.unique(self.rows["image_id"][order], return_index=True)
        self._indices: dict[float, NDArray[np.intp]] = dict(
            zip(photos.tolist(), np.split(order, starts)[1:], strict=True)
        )

    def of(self, image_id: int) -> NDArray[np.intp]:
        """The indices among `rows` of one photo's detections, in the file's order."""
        return self._indices.get(image_id, np.zeros(0, np.intp))

    def check(self, data: CocoSet) -> None:
        """Raises InputError when the detector saw other photos or knew other categories than the dataset's."""
        known = {"image_id": data.image_ids, "category_id": [category["id"] for category in data.categories]}
        for key, numbers in known.items():
            given = np.unique(self.rows[key])
            unknown = np.setdiff1d(given, numbers)
            if unknown.size:
                raise InputError(
                    f"{self.path}: {unknown.size} of its {given.size} different {key}s are not in {data.path}"
                    f" ({unknown[0]:.15g} is one); give the annotations that the detector was run on"
                )


@dataclass(frozen=True)
class Boxes(EvaluationProtocol):
    """data: the images and their ground truth, the dataset that is measured. detections: the detector's results.

    mapped: whether boxes also choose among the masks of everything mode. fastsam: an ONNX file, among whose masks
    they choose instead.
    Raises InputError where the detections cannot be used, ModelError where FastSAM's file cannot be.
    """

    data: CocoSet = field(repr=False)
    detections: Path = field(
        metadata=option(type=Path, help="A detector's results, in COCO's format.", metavar="FILE.json")
    )
    mapped: bool = field(
        default=False,
        metadata=option(
            type=bool, help="Let the boxes choose among everything mode's masks, too, as FastSAM does."
        ),
    )
    fastsam: Path | None = field(
        default=None,
        metadata=option(Path, "Let them choose among the masks of this FastSAM model.", metavar="FILE.onnx"),
    )

    name: ClassVar[str] = "boxes"
    summary: ClassVar[str] = "average precision with a detector's boxes as prompts (TinySAM, EfficientSAM)"
    description: ClassVar[str] = (
        "Prompts the model with every box of a detector, and computes the average precision of the masks by the rules"
        " of COCO or LVIS. DATA is a COCO or LVIS .json; the detector's results use its image ids."
    )
    follows: ClassVar[str] = "TinySAM (arXiv 2312.13789), Table 1; EfficientSAM (arXiv 2312.00863), Table 5"
    results: ClassVar[dict[str, str]] = {
        "AP, AP50, AP75": "mask AP in %: the mean over IoU thresholds from 0.5 to 0.95, at 0.5, and at 0.75",
        "APs, APm, APl": "mask AP in % of small (up to 32² pixels), medium (up to 96²) and large objects",
        "APr, APc, APf": "mask AP in % of rare, common and frequent categories (LVIS)",
    }
    needs_masks: ClassVar[bool] = False
    needs_all_photos: ClassVar[bool] = True
    needs_counter: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # Both say what cannot be used before anything is measured.
        _open(self.detections, self.data)
        if self.fastsam is not None:
            open_fastsam(self.fastsam)

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: Dataset, open_model: Callable[[str], OpenModel]
    ) -> "Boxes":
        if not isinstance(dataset, CocoSet):
            raise InputError(
                "boxes are measured on a COCO or LVIS .json, by whose numbers a detector names photos"
            )
        return cls(dataset, **settings)

    @property
    def headline(self) -> str:
        return PREDICTED_IOU

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that are measured."""
        return (*RULES, MAPPED) if self.mapped or self.fastsam else RULES

    def measure(self, segmenter: Segmenter, sample: Sample, photo: int) -> PhotoResult:
        """The masks of one image's boxes and, for each ground-truth mask, the best of its category.

        Raises InputError when the detections cannot be used with this dataset, or could not be counted.
        """
        found = _open(self.detections, self.data)
        indices, corners, left_out = _usable(found, found.of(self.data.image_ids[photo]), sample)
        if self.data.lvis:  # no more are counted, so no more are computed
            kept = np.sort(np.argsort(-found.rows["score"][indices], kind="stable")[:LVIS_LIMIT])
            indices, corners = indices[kept], corners[kept]
        detections = []
        if len(indices):
            opened = segmenter.open(sample.image)
            candidates = opened.candidates(boxes=corners)
            detections = [
                _detection(row, candidates[i : i + 1], corners[i])
                for i, row in enumerate(found.rows[indices])
            ]
            if MAPPED in self.rules:
                mapping = masks_to_map(opened, self.fastsam)
                detections = [_with_mapped(one, mapping) for one in detections]
        truth, faults = self.data.truth([photo])
        left_out += [fault for fault in faults if fault not in sample.left_out]
        categories = {one["id"]: one["category_id"] for one in truth["annotations"] if not one["iscrowd"]}
        rows = [
            _row(
                number,
                rle,
                [one for one in detections if one["category_id"] == categories[number]],
                self.rules,
            )
            for number, rle in zip(sample.ids, sample.rles, strict=True)
            if number in categories
        ]
        return PhotoResult(photo, sample.name, sample.source, rows, {}, detections, left_out)

    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """Mask AP, a rule a line, and the detections with their masks, as results files in COCO's form.

        The files give no boxes: where there is one, COCO's and LVIS's counters take it for the detection's size.
        """
        truth, left_out = self.data.truth([result.photo for result in results])
        detections = [detection for result in results for detection in result.detections]
        found = {rule: [_result(detection, rule) for detection in detections] for rule in self.rules}
        precision = {rule: average_precision(truth, found[rule], lvis=self.data.lvis) for rule in self.rules}
        numbers = {
            "photos": len(results),
            "masks": sum(len(result.rows) for result in results),
            "detections": len(detections),
            "truth_left_out": len(left_out),
            "average_precision": precision,
        }
        lines = [[rule, *(percent(value) for value in precision[rule].values())] for rule in self.rules]
        table = Table("mask AP, %", ["mask chosen by", *precision[PREDICTED_IOU]], lines)
        files = {f"detections-{_slug(rule)}.json": json.dumps(found[rule]).encode() for rule in self.rules}
        return Report(numbers, [table], files=files)


@lru_cache(maxsize=1)
def _open(path: Path, data: CocoSet) -> Detections:
    """The file is read and checked once a process."""
    require_counter()
    found = Detections(path)
    found.check(data)
    return found


def _read(path: Path) -> NDArray[Any]:
    """The detections of a results file, (N,) of _DETECTION."""
    numbers = array("d")

    def take(entry: dict[str, Any]) -> dict[str, Any] | None:
        """Keeps a detection's numbers, and nothing else of it: whole files would not fit into memory."""
        try:
            x, y, width, height = entry["bbox"]
            ids = entry["image_id"], entry["category_id"]
            numbers.extend(array("d", (*ids, entry["score"], x, y, width, height)))
        except (KeyError, TypeError, ValueError, OverflowError):
            return entry
        return None

    try:
        entries = json.loads(path.read_bytes(), object_hook=take)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not whole, or no JSON ({error}); write it again") from error
    rows = np.frombuffer(numbers, _DETECTION)
    if not isinstance(entries, list):
        raise InputError(f"{path}: is no list of detections; give a results file in COCO's form")
    for index, entry in enumerate(entries):
        if entry is not None:
            raise InputError(f"{path}: entry {index} {_fault(entry)}; give a results file in COCO's form")
    if len(rows) != len(entries):
        raise InputError(f"{path}: has entries that are no detections; give a results file in COCO's form")
    return rows


def _fault(entry: object) -> str:
    """Why an entry is no detection."""
    if not isinstance(entry, dict):
        return "is no detection"
    missing = [name for name in _DETECTION.names or () if name not in entry]
    return f"has no {' and no '.join(missing)}" if missing else "has values that are no numbers"


def _usable(
    found: Detections, indices: NDArray[np.intp], sample: Sample
) -> tuple[NDArray[np.intp], NDArray[np.float64], list[str]]:
    """The detections that can be prompts: their indices, their boxes (N, 4) XYXY cut to the photo; and the others."""
    height, width = sample.image.shape[:2]
    rows = found.rows[indices]
    finite = np.isfinite(rows["bbox"]).all(axis=1) & np.isfinite(rows["score"])
    corners = np.where(finite[:, None], rows["bbox"], 0)
    corners[:, 2:] += corners[:, :2]
    corners = np.clip(corners, 0, (width, height, width, height))
    usable = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    faults = np.where(finite, "has no area within the photo", "has numbers that are not finite")
    left_out = [
        f"{found.path}: entry {index}, the box {row['bbox'].tolist()} in {sample.name}, {fault}"
        for index, row, fault in zip(indices[~usable], rows[~usable], faults[~usable], strict=True)
    ]
    return indices[usable], corners[usable], left_out


def _detection(row: np.void, candidates: Candidates, corners: NDArray[np.float64]) -> dict[str, Any]:
    """A detection, of whose box these are the candidates, and the masks that the rules choose, each once (JSON)."""
    masks = candidates.take(range(4))
    single = choose(candidates.predicted_iou, candidates.prompts.ambiguous, candidates.config)
    chosen = {
        PREDICTED_IOU: 1 + int(masks.predicted_iou[1:].argmax()),
        BOX_IOU: 1 + int(_box_ious(masks.boxes[1:], corners).argmax()),
        SINGLE: int(single[0]),
    }
    return {
        "image_id": int(row["image_id"]),
        "category_id": int(row["category_id"]),
        "score": float(row["score"]),
        "box": corners.tolist(),
        "chosen": {rule: str(number) for rule, number in chosen.items()},
        "masks": {
            str(number): {
                "segmentation": masks.rle[number],
                "predicted_iou": float(masks.predicted_iou[number]),
            }
            for number in sorted(set(chosen.values()))
        },
    }


def _with_mapped(detection: dict[str, Any], mapping: PromptMapping) -> dict[str, Any]:
    """A detection, with the mask that its box chooses among those of `mapping`."""
    return detection | {
        "chosen": detection["chosen"] | {MAPPED: MAPPED},
        "masks": detection["masks"] | {MAPPED: {"segmentation": mapping.of_box(detection["box"])}},
    }


def _box_ious(boxes: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """The IoU of boxes (N, 4) with a box (4,) that has an area, all XYXY: (N,)."""
    both = np.concatenate([np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])], axis=1)
    intersection = _areas(both)
    return intersection / (_areas(boxes) + _areas(box[None]) - intersection)


def _areas(boxes: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1), np.float64)


def _row(number: int, truth: RLE, detections: list[dict[str, Any]], rules: Sequence[str]) -> Row:
    """A ground-truth mask and the detections of its category: by each rule, the IoU with the best of their masks."""
    ious = {
        rule: coco.iou([_mask(one, rule)["segmentation"] for one in detections], [truth], [0])
        for rule in (rules if detections else ())
    }
    scores = {rule: float(ious[rule].max()) if detections else 0.0 for rule in rules}
    area = int(coco.area(truth))
    if not scores[PREDICTED_IOU]:
        return Row(number, area, dict(scores), truth=truth)
    best = detections[int(ious[PREDICTED_IOU].argmax())]
    answer = _mask(best, PREDICTED_IOU)["segmentation"]
    return Row(number, area, dict(scores), {"box": best["box"]}, truth, answer)


def _mask(detection: dict[str, Any], rule: str) -> dict[str, Any]:
    """The mask that a rule chooses for a detection: its segmentation and, of the model's own, predicted IoU."""
    mask: dict[str, Any] = detection["masks"][detection["chosen"][rule]]
    return mask


def _result(detection: dict[str, Any], rule: str) -> dict[str, Any]:
    """A line of a COCO results file."""
    return {key: detection[key] for key in ("image_id", "category_id", "score")} | _mask(detection, rule)


def _slug(rule: str) -> str:
    return rule.lower().replace(" ", "-")
