"""Detection: what is learned, which cells learn it, and what the figures say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pocketsam.data.categories import CategorySet
from pocketsam.errors import DataError
from pocketsam.evaluation.job import Run, evaluate
from pocketsam.evaluation.protocols.detection import Detection as Protocol
from pocketsam.evaluation.protocols.detection import paste
from pocketsam.evaluation.results import PhotoResult
from pocketsam.models.heads.detector import (
    Cells,
    best_boxes,
    boxes_of,
    cell_centres,
    features_of_boxes,
)
from pocketsam.training.loop import train
from pocketsam.training.losses.detection import assign, moved, paired_ious
from pocketsam.training.prompts import SampleRNG
from pocketsam.training.samples.augment import Augmentation
from pocketsam.training.samples.categories import NOBODY, DetectionSamples, Framing
from pocketsam.utils.rle import decode, encode
from transfer import coco_set, recipe

SMALL = {"channels": 32, "depth": 1, "objects": 4}


def test_a_tiny_set_is_learned_and_measured_again_from_the_file(tmp_path: Path) -> None:
    data = coco_set(tmp_path)
    learning = {"steps": 120, "learning_rate": 3e-3, "clip": 5.0, "warmup": 5}
    asked = recipe(tmp_path, "detection", train=[str(data)], val=[str(data)], **learning, **SMALL)
    file = train(asked)
    log = [json.loads(line) for line in (asked.folder / "log.jsonl").read_text().splitlines()]
    scores = {name: log[-1][f"val/{name}"] for name in ("box AP", "mask AP")}
    run = Run(model=str(file), output=tmp_path / "result", workers=0, worst=4)
    numbers = evaluate(Protocol, {}, run, [data]).report.numbers
    assert {name: numbers[name]["AP"] for name in scores} == scores
    assert min(numbers[name]["AP50"] for name in scores) >= 0.9
    assert (tmp_path / "result" / "worst.jpg").exists()


def results(data: CategorySet, found: bool) -> list[PhotoResult]:
    """Of a detector that finds everything, or nothing."""
    every = []
    for photo in range(len(data)):
        sample = data.read(photo)
        detections = []
        for rle, category in zip(sample.rles, sample.categories, strict=True):
            y, x = np.nonzero(decode(rle))
            box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
            detections.append({"class": category, "score": 0.9, "bbox": box, "segmentation": rle})
        every.append(PhotoResult(photo, sample.name, detections=detections if found else []))
    return every


def test_a_perfect_detector_has_an_ap_of_1_and_none_has_0(tmp_path: Path) -> None:
    data = CategorySet([coco_set(tmp_path)])
    perfect = Protocol(data).scores(results(data, found=True))
    assert perfect == pytest.approx({"box AP": 1.0, "mask AP": 1.0})
    assert Protocol(data).scores(results(data, found=False)) == {"box AP": 0.0, "mask AP": 0.0}
    wrong = [
        PhotoResult(
            r.photo, r.name, detections=[{**one, "class": (one["class"] + 1) % 3} for one in r.detections]
        )
        for r in results(data, found=True)
    ]
    assert Protocol(data).scores(wrong)["box AP"] < 0.5


def test_bad_annotations_are_named_or_left_out(tmp_path: Path) -> None:
    for fault, message in (
        (
            {"category_id": 99},
            r"0: annotation 1 is of category 99, which is not in the file; mend it, or set leave_out",
        ),
        ({"bbox": [3, 4, 0, 9]}, r"0: annotation 1 has the box \[3, 4, 0, 9\], which has no area"),
    ):
        path = coco_set(tmp_path, **fault)
        with pytest.raises(DataError, match=message):
            CategorySet([path])
        whole = CategorySet([coco_set(tmp_path)]).read(0)
        part = CategorySet([coco_set(tmp_path, **fault)], leave_out=True).read(0)
        assert len(part.rles) == len(whole.rles) - 1
        assert re.search(message.partition("; mend")[0], part.left_out[0])
    path = coco_set(tmp_path, segmentation=encode(np.zeros((64, 64), bool)))
    with pytest.raises(DataError, match=r"annotation 1 has no pixels; mend it"):
        CategorySet([path]).read(0)
    path = coco_set(tmp_path, iscrowd=1, bbox=[0, 0, 0, 0])
    assert CategorySet([path]).read(0).rles == []
    with pytest.raises(DataError, match="the category blue is none of the model's 2 classes"):
        CategorySet([path], classes=["red", "green"])


def test_an_unaugmented_sample_is_the_photo(tmp_path: Path) -> None:
    data = CategorySet([coco_set(tmp_path)])
    how = Augmentation(whole=1, flip=0, colour=0, paste=0)
    samples = DetectionSamples(data, 0, Framing(128, "squash", how), objects=3)
    for number in range(6):
        item, sample = samples[number], data.read(samples.photo_of(number))
        there = item["classes"] != NOBODY
        assert sorted(item["classes"][there].tolist()) == sorted(sample.categories)
        for box, mask in zip(item["boxes"][there].int(), item["masks"][there], strict=True):
            x0, y0, x1, y1 = (box // 4).tolist()
            assert mask[y0:y1, x0:x1].min() == 255 and int((mask > 0).sum()) == (x1 - x0) * (y1 - y0)
        assert not item["masks"][~there].any()


def test_cells_near_the_middle_learn_the_smallest_object() -> None:
    centres = torch.cat([cell_centres(16, 16, 8), cell_centres(8, 8, 16)])
    strides = torch.cat([torch.full((256,), 8.0), torch.full((64,), 16.0)])
    small, large = [20.0, 20.0, 60.0, 60.0], [0.0, 0.0, 128.0, 128.0]
    learned = assign(centres, strides, torch.tensor([large, small]))
    fine, coarse = learned[:256].view(16, 16), learned[256:].view(8, 8)
    assert set(fine.unique().tolist()) == {-1, 1} and set(coarse.unique().tolist()) == {-1, 0}
    assert (fine == 1).nonzero().float().mean(0).tolist() == [4.5, 4.5]  # the middle is (40, 40)
    assert (coarse == 0).nonzero().float().mean(0).tolist() == [3.5, 3.5]
    assert assign(centres, strides, torch.zeros(0, 4)).unique().tolist() == [-1]


boxes = st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(1, 50)] * 2).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@given(boxes, boxes)
def test_the_iou_of_pairs(a: list[float], b: list[float]) -> None:
    iou, giou = paired_ious(torch.tensor([a]), torch.tensor([b]))
    w, h = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in range(2))
    area = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    union = sum(area) - w * h
    hull = np.prod([max(a[i + 2], b[i + 2]) - min(a[i], b[i]) for i in range(2)])
    assert float(iou) == pytest.approx(w * h / union, abs=1e-4)
    assert float(giou) == pytest.approx(w * h / union - (hull - union) / hull, abs=1e-4)


def test_the_best_boxes_stay() -> None:
    """Two cells see the same object, one sees another class there, and one hardly anything."""
    centres, strides = (
        torch.tensor([[20.0, 20.0], [22.0, 20.0], [20.0, 20.0], [50.0, 50.0]]),
        torch.full((4,), 8.0),
    )
    classes = torch.full((1, 4, 2), -20.0)
    classes[0, [0, 1, 2, 3], [0, 0, 1, 0]] = torch.tensor([3.0, 2.0, 1.0, -12.0])
    cells = Cells(classes, torch.full((1, 4, 4), 10.0), torch.full((1, 4), 5.0), centres, strides)
    found, scores, numbers = best_boxes(cells)
    assert numbers.tolist() == [0, 1]
    assert found.tolist() == [[10, 10, 30, 30]] * 2
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert torch.equal(cells.boxes()[0, 0], boxes_of(centres[:1], torch.full((1, 4), 10.0))[0])


def test_features_are_read_inside_their_boxes() -> None:
    """Levels whose values are the pixels' own x, or y, give a box's own coordinates."""
    levels = [
        torch.stack(
            [
                cell_centres(128 // s, 128 // s, s).view(128 // s, 128 // s, 2).permute(2, 0, 1) + 1000 * i
                for i in range(2)
            ]
        )
        for s in (4, 8, 16, 32, 64)
    ]
    wanted = torch.tensor([[16.0, 32.0, 44.0, 60.0], [10.0, 8.0, 120.0, 118.0]])
    read = features_of_boxes(levels, wanted, torch.tensor([0, 1]), side=7)
    for i, (x0, y0, x1, y1) in enumerate(wanted.tolist()):
        steps = (torch.arange(7) + 0.5) / 7
        torch.testing.assert_close(read[i, 0], (1000 * i + x0 + steps * (x1 - x0)).expand(7, 7))
        torch.testing.assert_close(read[i, 1], (1000 * i + y0 + steps * (y1 - y0))[:, None].expand(7, 7))


def test_a_mask_fills_its_box() -> None:
    mask = np.ones((28, 28), np.float32)
    assert np.flatnonzero(decode(paste(mask, (3.0, 2.0, 7.0, 5.0), 8, 10)).any(0)).tolist() == [3, 4, 5, 6]
    left = mask.copy()
    left[:, 14:] = 0
    found = decode(paste(left, (2.0, 2.0, 10.0, 6.0), 8, 12))
    assert found.sum() == 16 and found[2:6, 2:6].all()
    assert not decode(paste(mask, (9.0, 9.0, 9.0, 9.0), 8, 9)).any()


def test_boxes_for_masks_move_by_a_tenth_at_most() -> None:
    given = torch.tensor([[[10.0, 20.0, 30.0, 60.0]]]).expand(2, 50, 4)
    change = (moved(given, SampleRNG([1, 2])) - given).abs()
    assert change.amax((0, 1)).tolist() <= [2.0, 4.0, 2.0, 4.0]
    assert change.min() > 0 or change.mean() > 0.5
