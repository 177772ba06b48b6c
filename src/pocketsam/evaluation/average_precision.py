"""Average precision and recall of masks and boxes, by the rules of COCO and of LVIS.

COCO (arXiv 1405.0312, and its evaluation page): a detection is right where its mask's IoU with a true mask of its
category, not taken yet, reaches a threshold; AP is the area under the curve of precision against recall, averaged
over the thresholds 0.5 to 0.95 and over the categories. LVIS (arXiv 1908.03195, Section 4) knows of each photo only
some categories for certain: detections of the others do not count.

faster-coco-eval matches and counts. Here is what it leaves to its callers: LVIS's limit of detections a photo and its
unknown categories, the sizes of detections, and memory: a table of all LVIS photos × categories would take gigabytes,
so each category is counted alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pocketsam.errors import InputError
from pocketsam.evaluation.results import Mean
from pocketsam.utils.install import how_to_install
from pocketsam.utils.rle import areas

Detection = Mapping[str, Any]
"""A line of a COCO results file: image_id, category_id, score, and segmentation, an RLE, or bbox, XYWH."""
Shape: TypeAlias = Literal["segm", "bbox"]
"""What of an object is compared: its mask or its box."""

COCO_LIMIT = 100
"""The most confident detections of a category that count in a photo."""
LVIS_LIMIT = 300
"""The most confident detections, of all categories together, that count in a photo."""

# Indices among the counter's thresholds, 0.5, 0.55, … 0.95, and its ranges of areas, split at 32² and 96² pixels.
_AT_50, _AT_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def average_precision(
    document: Mapping[str, Any], results: Sequence[Detection], *, lvis: bool, of: Shape = "segm"
) -> dict[str, float | None]:
    """AP of detected objects, from 0 to 1: AP, AP50, AP75, APs, APm, APl and, by LVIS's rules, APr, APc, APf.

    of: what is compared, masks ("segm") or boxes ("bbox", XYWH).

    document: the truth in COCO's or LVIS's layout; every annotation has an `area`, which decides its size.
    results: detections in the photos of the document. A detection's size is that of its mask, as in common practice,
    or of its box, whichever is compared. lvis: LVIS's rules; else COCO's.
    None where no true mask counts. Neither argument is modified.
    Raises InputError when faster-coco-eval is not installed.
    """
    truth = _by(document["annotations"], "category_id")
    found = _by(_judged(document, most_confident(results)) if lvis else results, "category_id")
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", *(("APr", "APc", "APf") if lvis else ())]
    means = {name: Mean() for name in names}
    for category in document["categories"]:
        part = {**document, "categories": [category], "annotations": truth[category["id"]]}
        values = _category_precision(part, found[category["id"]], lvis, of)
        values[f"AP{category.get('frequency')}"] = values["AP"]
        for name, mean in means.items():
            mean.add(values.get(name))
    return {name: mean.value for name, mean in means.items()}


def average_recall(
    document: Mapping[str, Any], results: Sequence[Detection], limits: Sequence[int] = (10, 100, 1000)
) -> dict[str, float | None]:
    """AR of proposed masks whatever their category, from 0 to 1: "AR@10" for the 10 most confident of each photo, ….

    document, results: as for `average_precision`. Recall is averaged over the IoU thresholds 0.5 to 0.95.
    None where no true mask counts. Neither argument is modified.
    Raises InputError when faster-coco-eval is not installed.
    """
    if not document["annotations"]:
        return {f"AR@{limit}": None for limit in limits}
    # The counter drops what is of no category of its list.
    numbers = {one["category_id"] for one in [*document["annotations"], *results]}
    part = {**document, "categories": [{"id": number} for number in sorted(numbers)]}
    recall = _count(part, results, limits, use_categories=False)["recall"]
    values = {limit: _mean(recall[:, 0, _ALL, index]) for index, limit in enumerate(sorted(limits))}
    return {f"AR@{limit}": values[limit] for limit in limits}


def most_confident(results: Iterable[Detection], limit: int = LVIS_LIMIT) -> list[Detection]:
    """The `limit` most confident detections of each photo, photo by photo; of equals the earlier ones."""
    photos = _by(results, "image_id").values()
    return [one for found in photos for one in sorted(found, key=lambda one: -one["score"])[:limit]]


def require_counter() -> None:
    """Raises InputError when faster-coco-eval is not installed: better before hours of measuring than after."""
    try:
        import faster_coco_eval  # noqa: F401
    except ImportError as error:
        raise InputError(f"average precision needs faster-coco-eval: {how_to_install('evaluate')}") from error


def _judged(document: Mapping[str, Any], results: Iterable[Detection]) -> list[Detection]:
    """LVIS: the detections of categories that their photo is known to have, or known not to have."""
    known = {(one["image_id"], one["category_id"]) for one in document["annotations"]}
    for image in document["images"]:
        known.update((image["id"], category) for category in image.get("neg_category_ids", []))
    return [one for one in results if (one["image_id"], one["category_id"]) in known]


def _category_precision(
    document: Mapping[str, Any], results: Sequence[Detection], lvis: bool, of: Shape
) -> dict[str, float | None]:
    """What is measured of the document's one category."""
    if not document["annotations"]:
        return {"AP": None}
    limit = LVIS_LIMIT if lvis else COCO_LIMIT
    precision = _count(document, results, [limit], lvis=lvis, of=of)["precision"][:, :, 0, :, 0]
    return {
        "AP": _mean(precision[..., _ALL]),
        "AP50": _mean(precision[_AT_50, :, _ALL]),
        "AP75": _mean(precision[_AT_75, :, _ALL]),
        "APs": _mean(precision[..., _SMALL]),
        "APm": _mean(precision[..., _MEDIUM]),
        "APl": _mean(precision[..., _LARGE]),
    }


def _count(
    document: Mapping[str, Any],
    results: Sequence[Detection],
    limits: Sequence[int],
    *,
    lvis: bool = False,
    use_categories: bool = True,
    of: Shape = "segm",
) -> dict[str, NDArray[np.float64]]:
    """The counter's precision (thresholds, recalls, categories, areas, limits) and recall (without recalls).

    -1 where no true mask counts.
    """
    require_counter()
    from faster_coco_eval import COCO, COCOeval_faster

    truth, found = _truth(document["annotations"], lvis), _detections(results, of)
    used = {one["image_id"] for one in [*truth, *found]}
    images = [dict(image) for image in document["images"] if image["id"] in used]
    # For LVIS the counter needs a frequency, but sees too few categories to do anything with it.
    categories = [{"id": category["id"], "frequency": "f"} for category in document["categories"]]
    frame = {"images": images, "categories": categories}
    counter = COCOeval_faster(
        COCO({**frame, "annotations": truth}),
        COCO({**frame, "annotations": found}),
        of,
        lvis_style=lvis,
        print_function=lambda line: None,
    )
    counter.params.maxDets = list(limits)
    counter.params.useCats = int(use_categories)
    counter.evaluate()
    counter.accumulate()
    return dict(counter.eval)


def _truth(annotations: Sequence[Mapping[str, Any]], lvis: bool) -> list[dict[str, Any]]:
    """For the counter, which writes into them. To it 0 is no annotation's number, and LVIS knows no crowds."""
    return [
        {**one, "id": number, "iscrowd": 0 if lvis else one.get("iscrowd", 0)}
        for number, one in enumerate(annotations, start=1)
    ]


def _detections(results: Sequence[Detection], of: Shape) -> list[dict[str, Any]]:
    """For the counter, which writes into them."""
    read = ("image_id", "category_id", "segmentation" if of == "segm" else "bbox", "score")
    return [
        {
            **{key: one[key] for key in read},
            "id": number,
            "area": int(areas([one["segmentation"]])[0]) if of == "segm" else one["bbox"][2] * one["bbox"][3],
            "iscrowd": 0,
        }
        for number, one in enumerate(results, start=1)
    ]


def _by(items: Iterable[Mapping[str, Any]], key: str) -> defaultdict[Any, list[Mapping[str, Any]]]:
    """The items that agree in `key`, in their order."""
    groups = defaultdict(list)
    for item in items:
        groups[item[key]].append(item)
    return groups


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean of what could be counted; None if nothing could."""
    counted = values[values > -1]
    return float(counted.mean()) if counted.size else None
