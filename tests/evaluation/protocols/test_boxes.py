"""Boxes of a detector as prompts, on drawn COCO sets whose answers are known."""

import contextlib
import io
import json
import pickle
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pocketsam.data.coco import CocoSet
from pocketsam.errors import DataError, InputError, ModelError
from pocketsam.evaluation.protocols.boxes import BOX_IOU, MAPPED, PREDICTED_IOU, RULES, SINGLE, Boxes
from pocketsam.evaluation.results import PhotoResult
from pocketsam.evaluation.session import measure, run
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import decode, encode
from predictors import OneStep
from shards import blocks, paint

SIDE = 64
PHOTOS = [
    [(2, 3, 20, 30), (30, 5, 60, 25)],
    [(10, 10, 50, 30)],
    [(5, 5, 25, 60), (30, 30, 58, 44)],
]


class Differing(OneStep):
    """Four different masks a box: nothing; the object's left half; a cross as wide as the box; a corner of it."""

    def __init__(self, perfect):
        self.perfect, self.config = perfect, perfect.config

    def encode(self, image):
        return self.perfect.encode(image)

    def decode(self, embedding, points, labels, *masks):
        logits, _ = self.perfect.decode(embedding, points, labels, *masks)
        for four, (start, end) in zip(logits, np.rint(points / 4).astype(int), strict=True):
            (x0, y0), (x1, y1) = start, end
            inside = np.zeros((4, SIDE, SIDE), bool)
            inside[1] = four[0] > 0
            inside[1, :, (x0 + x1) // 2 :] = False
            inside[2, y0:y1, (x0 + x1) // 2] = inside[2, (y0 + y1) // 2, x0:x1] = True
            inside[3, y0 : y0 + 4, x0 : x0 + 4] = True
            four[:] = np.where(inside, 10, -10)
        return logits, np.tile(np.float32([0.8, 0.9, 0.5, 0.7]), (len(points), 1))


def true_annotation(number, image, category, mask, **more):
    y, x = np.nonzero(mask)
    box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
    rle = {"segmentation": encode(mask), "area": int(mask.sum()), "bbox": box, "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category, **rle, **more}


def drawn_set(folder, photos=PHOTOS, lvis=False, first_id=1):
    """A COCO set of photos with filled boxes, whose ids are 10, 20, …, of the categories 1, 2, 1, …."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, objects in enumerate(photos):
        masks = blocks(*objects, size=(SIDE, SIDE))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), paint(masks))
        image = {"id": 10 * number + 10, "file_name": f"{number}.png", "width": SIDE, "height": SIDE}
        federated = {"neg_category_ids": [], "not_exhaustive_category_ids": []} if lvis else {}
        images.append({**image, **federated})
        for place, mask in enumerate(masks):
            annotations.append(true_annotation(first_id + len(annotations), image["id"], 1 + place % 2, mask))
    categories = [{"id": 1, "name": "odd", "frequency": "r"}, {"id": 2, "name": "even", "frequency": "f"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return write_set(folder, document)


def write_set(folder, document):
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def write_detections(path, detections):
    path.write_text(json.dumps(detections))
    return path


def detection(image_id, category_id, bbox, score=0.9, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score, **more}


def tight(path, score=0.9):
    """The true objects of a set as its detections."""
    document = json.loads(path.read_bytes())
    return [
        detection(one["image_id"], one["category_id"], one["bbox"], score, segmentation=one["segmentation"])
        for one in document["annotations"]
    ]


def noisy(path, seed=0):
    """Boxes near the true ones and elsewhere, some of them of the wrong category."""
    random = np.random.default_rng(seed)
    found = []
    for one in tight(path) * 3:
        x, y, width, height = np.array(one["bbox"]) + random.uniform(-3, 3, 4)
        bbox = [float(value) for value in (x, y, max(width, 1), max(height, 1))]
        category = one["category_id"] if random.random() < 0.5 else 3 - one["category_id"]
        found.append(detection(one["image_id"], category, bbox, float(random.random())))
    return found


def protocol(folder, detections=None, **settings):
    path = drawn_set(folder, **settings)
    found = write_detections(folder / "found.json", tight(path) if detections is None else detections)
    return Boxes(CocoSet(path), found)


@pytest.mark.parametrize("first_id", [-3, 0, 10**6])
def test_masks_keep_their_categories_whatever_their_ids(tmp_path, perfect, first_id):
    boxes = protocol(tmp_path, first_id=first_id)
    results, report = measured(boxes, perfect)
    rows = [row for result in results for row in result.rows]
    assert [row.mask for row in rows] == list(range(first_id, first_id + 5))
    assert all(row.scores == dict.fromkeys(RULES, 1.0) for row in rows)
    assert report.numbers["average_precision"][PREDICTED_IOU]["AP"] == 1.0


def opener(segmenter):
    return lambda: segmenter


def measured(boxes, segmenter):
    results = run(boxes, boxes.data, opener(segmenter))
    return results, boxes.summarise(results)


def test_boxes_may_choose_among_masks_that_were_found_without_them(tmp_path, perfect, empty):
    boxes = replace(protocol(tmp_path), mapped=True)
    _, report = measured(boxes, perfect)
    assert report.numbers["average_precision"][MAPPED]["AP"] == 1.0
    assert report.tables[0].lines[-1][:2] == [MAPPED, "100.0"]
    written = json.loads(report.files["detections-mapped.json"])
    assert len(written) == 5 and all(decode(one["segmentation"]).any() for one in written)
    _, nothing = measured(boxes, empty)
    assert nothing.numbers["average_precision"][MAPPED]["AP"] == 0.0
    with pytest.raises(ModelError, match=r"missing.onnx: there is no such file"):
        replace(boxes, fastsam=tmp_path / "missing.onnx")


def test_perfect_masks_in_tight_boxes_score_one(tmp_path, perfect):
    boxes = protocol(tmp_path)
    results, report = measured(boxes, perfect)
    precision = report.numbers["average_precision"]
    assert set(precision) == set(RULES)
    for values in precision.values():
        assert values == {"AP": 1.0, "AP50": 1.0, "AP75": 1.0, "APs": 1.0, "APm": 1.0, "APl": None}
    assert [row.scores for result in results for row in result.rows] == [dict.fromkeys(RULES, 1.0)] * 5
    assert perfect.engine.encoded == len(PHOTOS)
    assert len(perfect.engine.decoded) == len(PHOTOS), "all boxes of a photo belong in one call"
    assert report.numbers["detections"] == report.numbers["masks"] == 5
    assert report.tables[0].headings == ["mask chosen by", "AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert report.tables[0].lines[0] == [PREDICTED_IOU, "100.0", "100.0", "100.0", "100.0", "100.0", "–"]


def test_empty_masks_score_zero(tmp_path, empty):
    results, report = measured(protocol(tmp_path), empty)
    for values in report.numbers["average_precision"].values():
        assert values == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "APs": 0.0, "APm": 0.0, "APl": None}
    assert {value for result in results for row in result.rows for value in row.scores.values()} == {0.0}
    assert all(row.answer is None and not row.prompt for result in results for row in result.rows)


def test_rows_tell_what_was_asked_and_answered(tmp_path, perfect):
    boxes = protocol(tmp_path)
    result = measure(boxes, boxes.data, perfect, 0)
    assert [row.mask for row in result.rows] == [1, 2]
    for row, (x0, y0, x1, y1) in zip(result.rows, PHOTOS[0], strict=True):
        assert row.prompt == {"box": [x0, y0, x1, y1]}
        assert row.area == decode(row.truth).sum() == (x1 - x0) * (y1 - y0)
        assert row.answer == row.truth


def test_a_detection_counts_for_masks_of_its_category_alone(tmp_path, perfect):
    path = drawn_set(tmp_path)
    wrong = [{**one, "category_id": 3 - one["category_id"]} for one in tight(path)]
    boxes = Boxes(CocoSet(path), write_detections(tmp_path / "found.json", wrong))
    results, report = measured(boxes, perfect)
    assert {value for result in results for row in result.rows for value in row.scores.values()} == {0.0}
    assert report.numbers["average_precision"][PREDICTED_IOU]["AP"] == 0.0


def test_each_rule_chooses_its_own_mask(tmp_path, perfect):
    boxes = protocol(tmp_path)
    result = measure(boxes, boxes.data, Segmenter(engine=Differing(perfect.engine)), 1)
    (found,) = result.detections
    assert found["chosen"] == {PREDICTED_IOU: "1", BOX_IOU: "2", SINGLE: "0"}
    assert found["masks"]["1"]["predicted_iou"] == pytest.approx(0.9)
    (row,) = result.rows
    cross = 40 + 20 - 1
    assert row.scores == pytest.approx({PREDICTED_IOU: 0.5, BOX_IOU: cross / 800, SINGLE: 0.0})
    assert decode(row.answer).sum() == 400


@pytest.mark.parametrize("seed", range(3))
def test_the_files_written_give_others_the_same_ap(tmp_path, perfect, seed):
    boxes = protocol(tmp_path, noisy(drawn_set(tmp_path / "same"), seed))
    _, report = measured(boxes, Segmenter(engine=Differing(perfect.engine)))
    _, better = measured(boxes, perfect)
    assert 0 < better.numbers["average_precision"][BOX_IOU]["AP"] < 1
    assert set(report.files) == {
        "detections-predicted-iou.json",
        "detections-box-iou.json",
        "detections-single.json",
    }
    for one in (report, better):
        for rule, values in one.numbers["average_precision"].items():
            file = one.files[f"detections-{rule.lower().replace(' ', '-')}.json"]
            assert list(values.values()) == [
                None if value == -1 else pytest.approx(value, abs=1e-6)
                for value in recount(boxes.data.path, json.loads(file))
            ]


def recount(truth, results):
    """AP by pycocotools' own counter."""
    with contextlib.redirect_stdout(io.StringIO()):
        document = COCO(str(truth))
        counter = COCOeval(document, document.loadRes(results), "segm")
        counter.evaluate()
        counter.accumulate()
        counter.summarize()
    return counter.stats[:6]


def test_results_are_the_same_in_batches_elsewhere_and_from_json(tmp_path, perfect):
    boxes = protocol(tmp_path, noisy(drawn_set(tmp_path / "same")))
    engine = Differing(perfect.engine)
    one, _ = measured(boxes, Segmenter(engine=engine, batch=1))
    many, report = measured(boxes, Segmenter(engine=engine, batch=16))
    travelled = pickle.loads(pickle.dumps(boxes))
    backwards = [measure(travelled, travelled.data, Segmenter(engine=engine), photo) for photo in (2, 1, 0)]
    stored = [PhotoResult.from_dict(json.loads(json.dumps(result.to_dict()))) for result in many]
    assert one == many == stored == backwards[::-1]
    assert boxes.summarise(stored) == report
    assert len(repr(boxes)) < 300


def test_boxes_that_cannot_be_prompts_are_named_and_left_out(tmp_path, perfect):
    bad = [
        detection(20, 1, [10, 10, 0, 20]),
        detection(20, 1, [10, 10, -5, 20]),
        detection(20, 1, [64, 10, 9, 20]),
        detection(20, 1, [-30, 10, 30, 20]),
        detection(20, 1, [10, float("nan"), 5, 20]),
        detection(20, 1, [10, 10, float("inf"), 20]),
        detection(20, 1, [10, 10, 40, 20], score=float("nan")),
    ]
    boxes = protocol(tmp_path, [*bad, detection(20, 1, [10, 10, 40, 20])])
    result = measure(boxes, boxes.data, perfect, 1)
    assert len(result.detections) == 1
    assert result.rows[0].scores[PREDICTED_IOU] == 1.0
    assert len(result.left_out) == len(bad)
    for place, line in enumerate(result.left_out):
        assert line.startswith(f"{tmp_path / 'found.json'}: entry {place}, the box [")
        assert line.endswith(
            "has no area within the photo" if place < 4 else "has numbers that are not finite"
        )


def test_boxes_are_cut_to_the_photo(tmp_path, perfect):
    boxes = protocol(tmp_path, [detection(10, 1, [-5.5, 3, 25.5, 27]), detection(10, 2, [30, 5, 1e9, 20])])
    result = measure(boxes, boxes.data, perfect, 0)
    assert [one["box"] for one in result.detections] == [[0, 3, 20, 30], [30, 5, 64, 25]]
    assert not result.left_out


@pytest.mark.parametrize("detections", [[], [detection(20, 1, [10, 10, 40, 20])]])
def test_photos_without_boxes_need_no_model(tmp_path, perfect, detections):
    results, report = measured(protocol(tmp_path, detections), perfect)
    assert perfect.engine.encoded == len(detections)
    assert [len(result.rows) for result in results] == [2, 1, 2]
    # One of the three masks of the first category is found: precision is 1 up to recall 0.33, of 101 recalls.
    expected = (34 / 101 if detections else 0) / 2
    assert report.numbers["average_precision"][PREDICTED_IOU]["AP"] == pytest.approx(expected)


def test_crowds_are_no_objects_but_detections_on_them_do_not_count(tmp_path, perfect):
    path = drawn_set(tmp_path)
    document = json.loads(path.read_bytes())
    document["annotations"][1]["iscrowd"] = 1
    write_set(tmp_path, document)
    boxes = Boxes(CocoSet(path), write_detections(tmp_path / "found.json", tight(path)))
    results, report = measured(boxes, perfect)
    assert [row.mask for row in results[0].rows] == [1]
    assert report.numbers["average_precision"][PREDICTED_IOU]["AP"] == 1.0


def test_annotations_that_cannot_be_truth_are_counted_once(tmp_path, perfect):
    path = drawn_set(tmp_path)
    document = json.loads(path.read_bytes())
    found = write_detections(tmp_path / "found.json", tight(path))
    document["annotations"][0]["segmentation"] = {"size": [SIDE, SIDE], "counts": "?"}
    document["annotations"][1]["category_id"] = 7
    write_set(tmp_path, document)
    results, report = measured(Boxes(CocoSet(path), found), perfect)
    assert report.numbers["truth_left_out"] == 2
    assert report.numbers["masks"] == 3
    assert sum("annotation 1 " in line for line in results[0].left_out) == 1


def test_only_the_measured_photos_are_counted(tmp_path, perfect):
    boxes = protocol(tmp_path)
    results = run(boxes, boxes.data, opener(perfect), photos=[1])
    report = boxes.summarise(results)
    assert (report.numbers["photos"], report.numbers["masks"]) == (1, 1)
    assert report.numbers["average_precision"][PREDICTED_IOU]["AP"] == 1.0


def test_lvis_draws_and_counts_300_boxes_of_a_photo(tmp_path, perfect):
    path = drawn_set(tmp_path, PHOTOS[1:2], lvis=True)
    others = [detection(10, 2, [1, 1, 5, 5], 0.9)] * 299
    right, last = detection(10, 1, [10, 10, 40, 20], 0.5), detection(10, 1, [0, 0, 9, 9], 0.4)
    found = write_detections(tmp_path / "found.json", [last, *others, right])
    boxes = Boxes(CocoSet(path), found)
    results, report = measured(boxes, perfect)
    assert len(results[0].detections) == 300
    assert results[0].detections[-1]["score"] == 0.5
    values = report.numbers["average_precision"][PREDICTED_IOU]
    assert {name: values[name] for name in ("AP", "APr", "APc", "APf")} == {
        "AP": 1.0,
        "APr": 1.0,
        "APc": None,
        "APf": None,
    }
    assert report.tables[0].headings[-3:] == ["APr", "APc", "APf"]


def test_a_missing_photo_is_refused(tmp_path, perfect):
    boxes = protocol(tmp_path)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        measured(boxes, perfect)


GOOD = detection(10, 1, [2, 3, 18, 27])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[{", "is not whole, or no JSON"),
        ('{"image_id": 1}', "is no list of detections"),
        ("3", "is no list of detections"),
        (
            json.dumps([GOOD, {"image_id": 10, "bbox": [1, 2, 3, 4]}]),
            "entry 1 has no category_id and no score",
        ),
        (json.dumps([{**GOOD, "bbox": [1, 2, 3]}]), "entry 0 has values that are no numbers"),
        (json.dumps([{**GOOD, "score": "high"}]), "entry 0 has values that are no numbers"),
        (json.dumps([GOOD, 5]), "entry 1 is no detection"),
        (json.dumps([GOOD, None]), "has entries that are no detections"),
        (json.dumps([GOOD, detection(397133, 1, [1, 2, 3, 4])]), "1 of its 2 different image_ids are not in"),
        (json.dumps([GOOD, detection(10, 91, [1, 2, 3, 4])]), r"category_ids are not in .*\(91 is one\)"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, reason):
    data, detections = CocoSet(drawn_set(tmp_path)), tmp_path / "found.json"
    detections.write_text(content)
    with pytest.raises(InputError, match=f"^[^\n]*{reason}[^\n]*$") as caught:
        Boxes(data, detections)
    assert str(caught.value).startswith(str(detections))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"found\.json: cannot be read \(No such file"):
        Boxes(CocoSet(drawn_set(tmp_path)), tmp_path / "found.json")


def test_a_missing_counter_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(InputError, match=r"pip install .*\[evaluate\]"):
        protocol(tmp_path)
