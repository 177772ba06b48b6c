"""The counting, against COCO's own counter and against LVIS's rules written out."""

import contextlib
import copy
import io
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pocketsam.errors import InputError
from pocketsam.evaluation.average_precision import average_precision, average_recall, most_confident
from pocketsam.utils.rle import encode

SIDE = 160
COCO_NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


def rectangle(x, y, width, height):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


def annotation(number, image, category, rle, **more):
    area = float(coco_mask.area(rle))
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": rle,
        "area": area,
        **more,
    }


def detection(image, category, rle, score):
    return {"image_id": image, "category_id": category, "segmentation": rle, "score": score}


def drawn_set(seed, lvis=False, photos=6, many=0):
    """A random document, and detections near its masks and elsewhere: with ties, and `many` in the first photo."""
    random = np.random.default_rng(seed)
    categories = [
        {"id": number, "name": str(number), "frequency": "rcf"[number % 3]} for number in (2, 3, 5, 8)
    ]
    known = [category["id"] for category in categories][: 4 if lvis else 3]
    images, annotations, results = [], [], []
    for image in range(1, photos + 1):
        images.append({"id": image, "height": SIDE, "width": SIDE, "file_name": f"{image}.jpg"})
        count = 0 if image == 2 else random.integers(1, 7)
        for _ in range(count):
            side = random.choice([12, 25, 50, 110])
            x, y = random.integers(0, SIDE - side, 2)
            width, height = random.integers(side // 2, side + 1, 2)
            crowd = {} if lvis else {"iscrowd": int(random.random() < 0.2)}
            category = int(random.choice(known))
            annotations.append(
                annotation(len(annotations) + 1, image, category, rectangle(x, y, width, height), **crowd)
            )
            for _ in range(random.integers(0, 4)):
                dx, dy, dw, dh = random.integers(-4, 5, 4)
                rle = rectangle(max(0, x + dx), max(0, y + dy), max(1, width + dw), max(1, height + dh))
                guess = category if random.random() < 0.8 else int(random.choice(known))
                results.append(detection(image, guess, rle, round(float(random.random()), 1)))
        for _ in range(many if image == 1 else random.integers(0, 6)):
            x, y, width, height = random.integers(1, 80, 4)
            score = round(float(random.random()), 2)
            results.append(detection(image, int(random.choice(known)), rectangle(x, y, width, height), score))
    if lvis:
        for image in images:
            present = {one["category_id"] for one in annotations if one["image_id"] == image["id"]}
            absent = [number for number in known if number not in present]
            image["neg_category_ids"] = absent[:1]
            image["not_exhaustive_category_ids"] = sorted(present)[:1]
    random.shuffle(results)
    return {"images": images, "annotations": annotations, "categories": categories}, results


def coco_counter(document, results, **settings):
    """What pycocotools' own counter makes of it."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(document)
        truth.createIndex()
        counter = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "segm")
        for name, value in settings.items():
            setattr(counter.params, name, value)
        counter.evaluate()
        counter.accumulate()
        if not settings:
            counter.summarize()
    return counter


def same(values, expected):
    assert values == {
        name: None if value == -1 else pytest.approx(value, abs=1e-6) for name, value in expected.items()
    }


@pytest.mark.parametrize("seed", range(8))
def test_ap_is_that_of_cocos_own_counter(seed):
    document, results = drawn_set(seed, many=450 * (seed % 2))
    stats = coco_counter(document, results).stats
    same(average_precision(document, results, lvis=False), dict(zip(COCO_NAMES, stats[:6], strict=True)))


@pytest.mark.parametrize("seed", range(8))
def test_ar_is_that_of_cocos_own_counter_without_categories(seed):
    document, results = drawn_set(seed, many=450 * (seed % 2))
    counter = coco_counter(document, results, useCats=0, maxDets=[10, 100, 1000])
    recall = counter.eval["recall"][:, 0, 0]
    expected = {f"AR@{limit}": recall[:, place].mean() for place, limit in enumerate((10, 100, 1000))}
    same(average_recall(document, results), expected)


def test_crowds_as_coco_ships_them_are_read():
    document, results = drawn_set(3)
    crowd = next(one for one in document["annotations"] if one["iscrowd"])
    mask = coco_mask.decode(crowd["segmentation"]).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [1 - mask[-1]]])))
    crowd["segmentation"] = {"size": [SIDE, SIDE], "counts": np.diff(np.concatenate([[0], edges])).tolist()}
    outline = next(one for one in document["annotations"] if not one["iscrowd"])
    outline["segmentation"] = [[10.5, 10.0, 70.0, 12.5, 60.0, 80.0]]
    stats = coco_counter(document, results).stats
    same(average_precision(document, results, lvis=False), dict(zip(COCO_NAMES, stats[:6], strict=True)))


def test_ar_does_not_ask_for_categories_and_keeps_the_order_of_its_limits():
    document, _ = drawn_set(0)
    document["annotations"] = [one for one in document["annotations"] if not one["iscrowd"]]
    proposals = [detection(one["image_id"], 1, one["segmentation"], 0.5) for one in document["annotations"]]
    assert average_recall(document, proposals, (1000, 100)) == {"AR@1000": 1.0, "AR@100": 1.0}


def iou(one, other):
    one, other = (coco_mask.decode(rle).astype(bool) for rle in (one, other))
    return (one & other).sum() / (one | other).sum()


def lvis_matches(truth, found, threshold, sizes, exhaustive):
    """One photo, one category: (score, right, counts) of each detection, and how many true masks count."""
    small, large = sizes
    ignored = [not small <= one["area"] <= large for one in truth]
    order = sorted(range(len(truth)), key=lambda i: ignored[i])
    taken, lines = set(), []
    for one in sorted(found, key=lambda one: -one["score"]):
        best, overlap = None, threshold
        for i in order:
            if i in taken:
                continue
            if best is not None and ignored[i] and not ignored[best]:
                break
            if iou(one["segmentation"], truth[i]["segmentation"]) >= overlap:
                best, overlap = i, iou(one["segmentation"], truth[i]["segmentation"])
        if best is None:
            fits = small <= coco_mask.area(one["segmentation"]) <= large
            lines.append((one["score"], False, fits and exhaustive))
        else:
            taken.add(best)
            lines.append((one["score"], True, not ignored[best]))
    return lines, ignored.count(False)


def lvis_category(document, results, category, threshold, sizes):
    """Interpolated precision, averaged over 101 recalls, for one category and threshold; None without truth."""
    lines, total = [], 0
    for image in document["images"]:
        truth, found = (
            [one for one in some if (one["image_id"], one["category_id"]) == (image["id"], category)]
            for some in (document["annotations"], results)
        )
        if not truth and category not in image["neg_category_ids"]:
            continue
        exhaustive = category not in image["not_exhaustive_category_ids"]
        more, count = lvis_matches(truth, found, threshold, sizes, exhaustive)
        lines, total = lines + more, total + count
    if not total:
        return None
    right = np.array([right for _, right, counts in sorted(lines, key=lambda line: -line[0]) if counts], bool)
    hits = np.cumsum(right)
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / total
    best = [precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)]
    return np.mean(best)


def lvis_counter(document, results):
    """LVIS's rules (arXiv 1908.03195, and the limit of its public counter), slowly."""
    kept = []
    for image in document["images"]:
        found = [one for one in results if one["image_id"] == image["id"]]
        kept += sorted(found, key=lambda one: -one["score"])[:300]

    def mean(thresholds=THRESHOLDS, sizes="", frequencies="rcf"):
        values = [
            lvis_category(document, kept, category["id"], threshold, AREAS[sizes])
            for category in document["categories"]
            if category["frequency"] in frequencies
            for threshold in thresholds
        ]
        counted = [value for value in values if value is not None]
        return np.mean(counted) if counted else -1

    return {
        "AP": mean(),
        "AP50": mean(THRESHOLDS[:1]),
        "AP75": mean(THRESHOLDS[5:6]),
        **{f"AP{size}": mean(sizes=size) for size in "sml"},
        **{f"AP{frequency}": mean(frequencies=frequency) for frequency in "rcf"},
    }


@pytest.mark.parametrize("seed", range(6))
def test_lvis_ap_is_that_of_its_rules_written_out(seed):
    document, results = drawn_set(seed, lvis=True)
    same(average_precision(document, results, lvis=True), lvis_counter(document, results))


@pytest.mark.parametrize(("others", "expected"), [(299, 1.0), (300, 0.0)])
def test_lvis_counts_the_300_most_confident_of_a_photo_over_all_categories(others, expected):
    image = {
        "id": 1,
        "height": SIDE,
        "width": SIDE,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
    }
    square = rectangle(10, 10, 20, 20)
    document = {
        "images": [image],
        "annotations": [annotation(1, 1, 1, square)],
        "categories": [{"id": 1, "frequency": "r"}, {"id": 2, "frequency": "f"}],
    }
    results = [detection(1, 1, square, 0.5), *[detection(1, 2, square, 0.9)] * others]
    assert average_precision(document, results, lvis=True)["AP"] == expected


def test_of_equals_the_earlier_detections_are_kept_in_each_photo():
    results = [detection(image, category, None, 0.5) for category in range(4) for image in (2, 1)]
    kept = [(one["image_id"], one["category_id"]) for one in most_confident(results, 2)]
    assert kept == [(2, 0), (2, 1), (1, 0), (1, 1)]


def test_lvis_does_not_count_what_it_does_not_know():
    image = {
        "id": 1,
        "height": SIDE,
        "width": SIDE,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [1],
    }
    square, elsewhere = rectangle(10, 10, 20, 20), rectangle(90, 90, 20, 20)
    document = {
        "images": [image, {**image, "id": 2, "not_exhaustive_category_ids": []}],
        "annotations": [annotation(1, 1, 1, square)],
        "categories": [{"id": 1, "name": "one", "frequency": "r"}],
    }
    right, unknown = detection(1, 1, square, 0.5), [detection(n, 1, elsewhere, 0.9) for n in (1, 2)]
    assert average_precision(document, [right, *unknown], lvis=True)["APr"] == 1.0
    document["images"][1]["neg_category_ids"] = [1]
    assert average_precision(document, [right, *unknown], lvis=True)["APr"] == pytest.approx(0.5)


def test_a_detection_is_as_large_as_its_mask_whatever_box_it_carries():
    document, results = drawn_set(1)
    boxed = [{**one, "bbox": [0.0, 0.0, float(SIDE), float(SIDE)], "area": 1.0} for one in results]
    assert average_precision(document, boxed, lvis=False) == average_precision(document, results, lvis=False)


def test_an_annotation_may_have_the_number_0():
    document, results = drawn_set(0)
    expected = average_precision(document, results, lvis=False)
    for number, one in enumerate(document["annotations"]):
        one["id"] = number
    assert average_precision(document, results, lvis=False) == expected


@pytest.mark.parametrize("lvis", [False, True])
def test_nothing_found_is_zero_and_nothing_to_find_is_none(lvis):
    document, results = drawn_set(0, lvis)
    found = average_precision(document, [], lvis=lvis)
    assert set(found.values()) <= {0.0, None}
    assert found["AP"] == 0.0
    assert set(average_recall(document, []).values()) == {0.0}
    for empty in ({**document, "annotations": []}, {"images": [], "annotations": [], "categories": []}):
        assert set(average_precision(empty, [], lvis=lvis).values()) == {None}
        assert set(average_recall(empty, []).values()) == {None}
    blind = {**document, "annotations": []}
    assert set(average_precision(blind, results, lvis=lvis).values()) == {None}
    assert set(average_recall(blind, results).values()) == {None}


def test_crowds_alone_are_nothing_to_find():
    document, results = drawn_set(0)
    for one in document["annotations"]:
        one["iscrowd"] = 1
    assert set(average_precision(document, results, lvis=False).values()) == {None}
    assert set(average_recall(document, results).values()) == {None}


@pytest.mark.parametrize("lvis", [False, True])
def test_inputs_stay_as_they_are_and_nothing_is_printed(lvis, capfd):
    document, results = drawn_set(0, lvis)
    before = copy.deepcopy((document, results))
    average_precision(document, results, lvis=lvis)
    average_recall(document, results)
    assert (document, results) == before
    assert capfd.readouterr() == ("", "")


def test_the_missing_counter_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(InputError, match=r"pip install .*\[evaluate\]"):
        average_precision(*drawn_set(0), lvis=False)


def test_lvis_categories_without_a_frequency_count_in_none_of_its_groups():
    document, results = drawn_set(0, lvis=True)
    expected = average_precision(document, results, lvis=True)
    for category in document["categories"]:
        category["frequency"] = "seldom"
    grouped = ("APr", "APc", "APf")
    assert average_precision(document, results, lvis=True) == {**expected, **dict.fromkeys(grouped)}
