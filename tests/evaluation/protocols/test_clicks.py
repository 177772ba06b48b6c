"""Box, 1 click, 3 clicks (EfficientSAM, Table 4), on predictors whose score is known."""

import json

import cv2
import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.evaluation.protocols.clicks import BOUNDARY, PREDICTED, Clicks
from pocketsam.evaluation.results import Means, PhotoResult, Row
from pocketsam.evaluation.session import measure, run
from pocketsam.segmenter import Segmenter
from predictors import BrightEngine, OneStep, PerfectEngine
from shards import blocks, write_shard

SIZE = 64, 64
PHOTOS = {
    "first": blocks((2, 3, 20, 30), (30, 5, 31, 6), (40, 20, 60, 40), size=SIZE),
    "second": blocks((10, 10, 50, 30), size=SIZE),
}
COLUMNS = ["box", "1 click", "3 clicks"]
ALL_COLUMNS = [*COLUMNS, *(f"{name}, most confident" for name in COLUMNS), BOUNDARY]


@pytest.fixture
def photos(tmp_path):
    return Shards(write_shard(tmp_path / "drawn.tar", PHOTOS))


def evaluate(segmenter, dataset, **settings):
    return run(Clicks(**settings), dataset, lambda: segmenter)


def test_perfect_predictor_scores_one_and_encodes_each_photo_once(photos, perfect):
    means = Means(evaluate(perfect, photos))
    assert {name: means[name] for name in means.scores if name != PREDICTED} == dict.fromkeys(
        ALL_COLUMNS, 1.0
    )
    assert means[PREDICTED] == pytest.approx(0.99)
    assert (means.photos, means.masks) == (2, 4)
    assert perfect.engine.encoded == 2
    assert len(perfect.engine.decoded) == 2 * len(COLUMNS), (
        "the masks of a photo belong in one call a kind of prompt"
    )


def test_empty_predictor_scores_zero(photos, empty):
    means = Means(evaluate(empty, photos))
    assert {name: means[name] for name in means.scores if name != PREDICTED} == dict.fromkeys(
        ALL_COLUMNS, 0.0
    )


class WholePhoto(OneStep):
    """Answers every prompt with the whole photo."""

    def __init__(self, engine):
        self.encode, self.config = engine.encode, engine.config

    def decode(self, embedding, points, *_):
        return np.ones((len(points), 4, 64, 64), np.float32), np.ones((len(points), 4), np.float32)


def test_iou_is_intersection_over_union_averaged_over_masks_not_photos(photos, perfect):
    expected = np.mean([mask.mean() for masks in PHOTOS.values() for mask in masks])
    means = Means(evaluate(Segmenter(engine=WholePhoto(perfect.engine)), photos))
    assert [means[name] for name in COLUMNS] == pytest.approx([expected] * 3)


class Unsure(PerfectEngine):
    """Right in mask 0, the single answer, and in mask 3; but sure of mask 2, which is empty."""

    def decode(self, *prompts):
        logits, predicted_iou = super().decode(*prompts)
        logits[:, 1:3] = -10
        predicted_iou[:, 1:] = 0.5, 0.9, 0.6
        return logits, predicted_iou


def test_what_a_user_gets_and_what_the_paper_compares_are_told_apart(photos):
    means = Means(evaluate(Segmenter(engine=Unsure()), photos))
    assert [means[name] for name in COLUMNS] == [1.0, 0.0, 1.0]
    assert [means[f"{name}, most confident"] for name in COLUMNS] == [0.0, 0.0, 0.0]


def test_prompts_are_the_tightest_box_and_clicks_in_the_mask(photos, perfect):
    result = measure(Clicks((1, 2, 5)), photos, perfect, 0)
    box, one, two, five = perfect.engine.decoded
    assert (box[0] / 4).tolist() == [[2, 3], [20, 30]]
    assert [prompts.shape[1] for prompts in (one, two, five)] == [2, 3, 6], (
        "a padding point follows the clicks"
    )
    assert (one[:, 0] == five[:, 0]).all()
    assert (two[:, :2] == five[:, :2]).all()
    for row, mask in zip(result.rows, PHOTOS["first"], strict=True):
        assert all(mask[y, x] for x, y in row.prompt["clicks"])
        assert row.area == mask.sum()


def test_a_result_survives_json_to_the_last_bit(photos, perfect):
    result = measure(Clicks(), photos, perfect, 0)
    assert PhotoResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_clicks_of_a_mask_depend_on_neither_its_neighbours_nor_the_order(tmp_path, perfect):
    photos = {"a": blocks((2, 3, 20, 30), size=SIZE), "b": blocks((5, 5, 5, 5), (10, 10, 50, 30), size=SIZE)}
    there = Shards(write_shard(tmp_path / "there.tar", photos))
    back = Shards(write_shard(tmp_path / "back.tar", dict(reversed(photos.items()))))
    rows = {result.name: result.rows for result in evaluate(perfect, there)}
    assert rows == {result.name: result.rows for result in evaluate(perfect, back)}
    assert rows["b"][0].mask == 1, "the empty mask before it keeps its number"


def test_another_seed_gives_other_clicks(photos, perfect):
    one, other = (measure(Clicks(seed=seed), photos, perfect, 1).rows[0].prompt for seed in (0, 1))
    assert one["box"] == other["box"]
    assert one["clicks"] != other["clicks"]


def test_report_has_a_line_a_source_and_one_for_all(tmp_path, perfect):
    shards = [
        write_shard(tmp_path / "a.tar", {"a": blocks((2, 3, 20, 30), size=SIZE)}, source="circles"),
        write_shard(
            tmp_path / "b.tar", {"b": blocks((2, 3, 20, 30), (30, 30, 40, 40), size=SIZE)}, source="squares"
        ),
    ]
    report = Clicks().summarise(evaluate(perfect, Shards(shards)))
    table, papers, *_ = report.tables
    assert papers.lines == table.lines
    assert [line[0] for line in table.lines] == ["circles", "squares", "all"]
    assert table.lines[-1] == ["all", "2", "3", "100.0", "100.0", "100.0"]
    squares = {"photos": 1, "masks": 2, "mean_iou": dict.fromkeys(COLUMNS, 1.0)}
    assert report.numbers["sources"]["squares"] == squares
    assert report.curves[0].lines["clicks"] == [(1, 100), (3, 100)]


def scored(source, *scores):
    """An image whose masks have these IoUs of the box, boundary IoUs, and predicted and true IoUs of 1 click."""
    names = "box", BOUNDARY, PREDICTED, "1 click"
    rows = [Row(i, 1, dict(zip(names, values, strict=True))) for i, values in enumerate(scores)]
    return PhotoResult(0, source, source, rows)


RESULTS = [
    scored("a", (0.9, 0.5, 0.25, 0.1), (0.8, 0.3, 0.35, 0.3)),
    scored("b", (0.79, 0.1, 0.45, 0.2), (0.95, 0.9, 0.99, 0.8)),
]


def test_box_masks_are_counted_and_their_boundaries_averaged_by_source():
    report = Clicks((1,), without_source=("b",)).summarise(RESULTS)
    box = report.tables[2]
    assert box.headings == ["source", "photos", "masks", "IoU ≥ 0.8", "IoU ≥ 0.9", "boundary IoU"]
    assert box.lines == [
        ["a", "1", "2", "100.0", "50.0", "40.0"],
        ["b", "1", "2", "50.0", "50.0", "50.0"],
        ["all without b", "1", "2", "100.0", "50.0", "40.0"],
        ["all", "2", "4", "75.0", "50.0", "45.0"],
    ]
    numbers = report.numbers["box_masks"]
    assert numbers["all"] == {"iou_0.8": 0.75, "iou_0.9": 0.5, "boundary_iou": pytest.approx(0.45)}
    assert numbers["all without b"] == numbers["a"]
    assert json.loads(json.dumps(report.numbers)) == report.numbers


def test_predicted_iou_is_correlated_with_the_true_one_and_calibrated():
    report = Clicks((1,)).summarise(RESULTS)
    confidence, calibration = report.tables[3:]
    # Deviations of the predictions -0.26, -0.16, -0.06, 0.48, of the IoUs -0.25, -0.05, -0.15, 0.45: the products add
    # up to 0.298, the squares to 0.3272 and 0.29.
    expected = 0.298 / (0.3272 * 0.29) ** 0.5
    numbers = report.numbers["predicted_iou"]
    assert numbers["all"] == pytest.approx(
        {"correlation": expected, "mean_predicted": 0.51, "mean_true": 0.35}
    )
    assert numbers["a"]["correlation"] == pytest.approx(1)
    assert confidence.lines[-1] == ["all", "2", "4", f"{expected:.2f}", "51.0", "35.0"]
    assert [line for line in calibration.lines if line[1] != "0"] == [
        ["0.2 to 0.3", "1", "25.0", "10.0"],
        ["0.3 to 0.4", "1", "35.0", "30.0"],
        ["0.4 to 0.5", "1", "45.0", "20.0"],
        ["0.9 to 1.0", "1", "99.0", "80.0"],
    ]
    assert len(calibration.lines) == len(report.numbers["calibration"]) == 10
    curve = np.array(report.curves[-1].lines["1 click"])
    np.testing.assert_allclose(curve, [(25, 10), (35, 30), (45, 20), (95, 80)])


class Blurred(PerfectEngine):
    """Knows each object, but makes it a little too large."""

    def decode(self, *given):
        logits, iou = super().decode(*given)
        flat = logits.reshape(-1, *logits.shape[-2:])
        return np.stack([cv2.blur(one, (5, 5)) / 4 + 1 for one in flat]).reshape(logits.shape), iou


def test_refined_masks_are_measured_where_told(tmp_path):
    shard = Shards(write_shard(tmp_path / "one.tar", {"one": blocks((9, 11, 50, 46), size=SIZE)}))
    segmenter = Segmenter(engine=Blurred())
    plain, refined = (Means(evaluate(segmenter, shard, refine=refine)) for refine in (False, True))
    for name in COLUMNS:
        assert refined[name] > plain[name]
    assert refined["box, most confident"] == plain["box, most confident"], "the paper's mask is not refined"


def test_small_objects_are_looked_at_twice_where_told(tmp_path):
    shard = Shards(write_shard(tmp_path / "one.tar", {"one": blocks((90, 73, 131, 99), size=(400, 600))}))
    engine = BrightEngine()
    plain, zoomed = (Means(evaluate(Segmenter(engine=engine), shard, zoom=zoom)) for zoom in (False, True))
    for name in (*COLUMNS, BOUNDARY):
        assert zoomed[name] > plain[name]
    assert zoomed["box, most confident"] == plain["box, most confident"], "the paper's mask is of one look"
    assert engine.encoded == 2 + len(COLUMNS)


def test_without_a_single_click_nothing_is_said_of_the_predicted_iou(photos, perfect):
    report = Clicks((2,)).summarise(evaluate(perfect, photos, clicks=(2,)))
    assert len(report.tables) == 3
    assert "predicted_iou" not in report.numbers


class Shifted(PerfectEngine):
    """Every mask is one pixel too far to the right."""

    def answer(self, objects, points, labels):
        return np.roll(super().answer(objects, points, labels), 1, axis=1)


def test_boundary_iou_is_that_of_the_box_masks(tmp_path):
    """Of 64 × 64 pixels the diagonal is 91, and the boundary 2 pixels wide: of a square of 10, 10² - 6² = 64 pixels.

    Moved by 1 pixel it shares 2 · 2 · 9 in its rows and, of 6 rows, 2 · 1 in its columns.
    """
    dataset = Shards(write_shard(tmp_path / "one.tar", {"one": blocks((20, 20, 30, 30), size=SIZE)}))
    (result,) = evaluate(Segmenter(engine=Shifted()), dataset)
    scores = result.rows[0].scores
    assert scores["box"] == pytest.approx(90 / 110)
    assert scores[BOUNDARY] == pytest.approx(48 / (64 + 64 - 48))
