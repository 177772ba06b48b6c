"""Interaction by clicks: where they land, what is fed back, when it ends, and how many clicks an IoU takes."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.protocols.interactive import CLICKS, ORACLE, POINTS_ONLY, WAYS, Interactive
from pocketsam.evaluation.results import PhotoResult, Row
from pocketsam.evaluation.session import measure
from pocketsam.segmenter import Segmenter
from predictors import OneStep
from shards import blocks, write_shard

SIZE = (64, 64)
OBJECT = (10, 10, 31, 31)
TWO = blocks(OBJECT, (40, 5, 60, 16), size=SIZE)


def area(*boxes):
    """The union of boxes, (64, 64)."""
    return blocks(*boxes, size=SIZE).any(axis=0)


class ScriptedEngine(OneStep):
    """Answers the first click with the first of `answers`, and so on, whatever the clicks are; the last one stays.

    It is most confident of mask 0; masks 1 to 3 are `readings`, or the same. The logits are 10 and the number of
    clicks, inside and outside with opposite signs; less 0.5 with a mask as input.
    """

    def __init__(self, *answers, takes_masks=True, readings=None):
        self.config = ModelConfig(
            "scripted", image_size=256, takes_masks=takes_masks, click_masks=(0, 1, 2, 3)
        )
        self.answers, self.readings = answers, readings
        self.calls = []

    def encode(self, image):
        return np.zeros((1, 256, 16, 16), np.float32)

    def decode(self, embedding, points, labels, mask_input, has_mask):
        self.calls.append((points / 4, labels, mask_input, has_mask))
        clicks = int((labels >= 0).sum(axis=1)[0])
        answer = self.answers[min(clicks, len(self.answers)) - 1]
        masks = [answer] * 4 if self.readings is None else [answer, *self.readings]
        strength = 10 + clicks - 0.5 * has_mask[:, None, None, None]
        logits = np.where(np.stack(masks), strength, -strength).astype(np.float32)
        predicted_iou = np.full((len(points), 4), 0.5, np.float32)
        predicted_iou[:, 0] = 0.9
        return logits, predicted_iou

    def asked(self, fed_back):
        """The clicks of the first mask in each call, with a mask as input or without one: [x, y, label] each."""
        chosen = [call for call in self.calls if bool(call[3][0]) == fed_back]
        return [
            [
                [*xy, label]
                for xy, label in zip(points[0].tolist(), labels[0].tolist(), strict=True)
                if label >= 0
            ]
            for points, labels, _, _ in chosen
        ]


@pytest.fixture
def one(tmp_path):
    return Shards(write_shard(tmp_path / "one.tar", {"one": TWO[:1]}))


@pytest.fixture
def two(tmp_path):
    return Shards(write_shard(tmp_path / "two.tar", {"two": TWO}))


def ask(engine, dataset, clicks=3, batch=16):
    """The result of the only photo."""
    return measure(Interactive(clicks), dataset, Segmenter(engine=engine, batch=batch), 0)


def scores(row, way, clicks=3):
    return [row.scores[name] for name in Interactive(clicks).columns(way)]


def test_the_perfect_predictor_scores_one_and_is_asked_once_for_all_masks(perfect, two):
    result = measure(Interactive(), two, perfect, 0)
    assert [set(row.scores.values()) for row in result.rows] == [{1.0}, {1.0}]
    assert [len(row.scores) for row in result.rows] == [60, 60]
    assert perfect.engine.encoded == 1
    assert [len(points) for points in perfect.engine.decoded] == [2]
    assert [row.answer for row in result.rows] == [row.truth for row in result.rows]
    assert result.rows[0].prompt == {"points": [[20, 20]], "labels": [1]}


def test_the_empty_predictor_scores_zero_after_every_click(empty, two):
    result = measure(Interactive(4), two, empty, 0)
    assert [set(row.scores.values()) for row in result.rows] == [{0.0}, {0.0}]
    fed_back, points_only = [1, 1] * 3, [2] * 3  # a mask that is fed back is one object's
    assert [len(points) for points in empty.engine.decoded] == [2, *fed_back, *points_only], (
        "the first click is asked once, not twice"
    )
    assert result.rows[0].prompt == {"points": [[20, 20]] * 4, "labels": [1] * 4}


def test_clicks_land_in_the_middle_of_the_larger_error_with_its_label(one):
    too_much = area(OBJECT, (40, 40, 51, 51))
    too_little = area((10, 10, 31, 26))
    engine = ScriptedEngine(too_much, too_little, area(OBJECT))
    row = ask(engine, one).rows[0]
    clicks = [20, 20, 1], [45, 45, 0], [12, 28, 1]
    assert row.prompt == {
        "points": [[x, y] for x, y, _ in clicks],
        "labels": [label for _, _, label in clicks],
    }
    assert engine.asked(fed_back=True) == [list(clicks[:2]), list(clicks)]
    assert engine.asked(fed_back=False) == [list(clicks[:1]), list(clicks[:2]), list(clicks)]
    assert scores(row, CLICKS) == scores(row, POINTS_ONLY) == [441 / 562, 336 / 441, 1.0]


def test_the_former_logits_are_fed_back_in_one_way_only(one):
    wrong = area((10, 10, 31, 26))
    engine = ScriptedEngine(wrong)
    ask(engine, one)
    first, second, third, *points_only = engine.calls
    assert not first[3].any()
    np.testing.assert_array_equal(second[2][0, 0], np.where(wrong, 11, -11))
    np.testing.assert_array_equal(third[2][0, 0], np.where(wrong, 11.5, -11.5))
    assert len(points_only) == 2
    assert not any(has_mask.any() for _, _, _, has_mask in points_only)


def test_each_way_corrects_its_own_answers(one):
    class Listens(ScriptedEngine):
        """Right when it is given the former mask, and stuck without it."""

        def decode(self, embedding, points, labels, mask_input, has_mask):
            self.answers = (area(OBJECT) if has_mask.all() else area((10, 10, 31, 26)),)
            return super().decode(embedding, points, labels, mask_input, has_mask)

    row = ask(Listens(), one).rows[0]
    assert scores(row, CLICKS) == [336 / 441, 1.0, 1.0]
    assert scores(row, POINTS_ONLY) == [336 / 441] * 3
    assert len(row.prompt["points"]) == 2
    assert row.answer == row.truth


def test_a_finished_mask_is_not_asked_about_again(two):
    engine = ScriptedEngine(TWO[0])
    first, second = ask(engine, two).rows
    assert scores(first, CLICKS) == scores(first, POINTS_ONLY) == scores(first, ORACLE) == [1.0] * 3
    assert scores(second, CLICKS) == [0.0] * 3
    assert [len(points) for points, _, _, _ in engine.calls] == [2, 1, 1, 1, 1]
    assert (len(first.prompt["points"]), len(second.prompt["points"])) == (1, 3)


def test_a_model_that_takes_no_masks_is_asked_with_points_only(one):
    engine = ScriptedEngine(area((10, 10, 31, 26)), takes_masks=False)
    row = ask(engine, one).rows[0]
    assert len(engine.calls) == 3
    assert not any(has_mask.any() for _, _, _, has_mask in engine.calls)
    assert scores(row, CLICKS) == scores(row, POINTS_ONLY) == [336 / 441] * 3


def test_the_oracle_is_never_worse_than_the_answer(one):
    nothing, engine = area((0, 0, 1, 1)), ScriptedEngine(area((10, 10, 31, 17)), area((10, 10, 31, 26)))
    engine.readings, engine.config = [nothing] * 3, replace(engine.config, click_masks=(1, 2, 3))
    row = ask(engine, one).rows[0]  # from 2 clicks on SAM answers with mask 0, which is none of the three
    assert scores(row, CLICKS)[1:] == [336 / 441] * 2
    assert scores(row, ORACLE)[1:] == [336 / 441] * 2


def test_the_oracle_takes_the_best_of_the_three_most_confident_readings(one):
    readings = [area((10, 10, 31, 26)), area(OBJECT), area((0, 0, 5, 5))]
    row = ask(ScriptedEngine(area((10, 10, 31, 17)), readings=readings), one).rows[0]
    assert scores(row, CLICKS) == [147 / 441] * 3
    assert scores(row, ORACLE) == [1.0] * 3
    # Of equally confident ones the last is left out, here the only right one.
    readings.append(readings.pop(1))
    row = ask(ScriptedEngine(area((10, 10, 31, 17)), readings=readings), one).rows[0]
    assert scores(row, ORACLE) == [336 / 441] * 3


def test_the_answer_is_the_one_of_the_headline(one):
    stages = [area((10, 10, 31, 17)), area((10, 10, 31, 26)), area((10, 10, 31, 30))]
    row = ask(ScriptedEngine(*stages), one).rows[0]
    assert Interactive(3).headline == "3 clicks"
    assert row.scores["3 clicks"] == 420 / 441
    assert (
        measure(Interactive(1), one, Segmenter(engine=ScriptedEngine(stages[2])), 0).rows[0].answer
        == row.answer
    )


def test_the_result_is_the_same_in_any_batch_and_survives_json(two):
    stages = [area(OBJECT, (40, 40, 51, 51)), area((10, 10, 31, 26))]
    result = ask(ScriptedEngine(*stages), two, batch=16)
    assert ask(ScriptedEngine(*stages), two, batch=1) == result
    assert PhotoResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_names_of_scores_are_clear_and_their_order_is_stable(one):
    names = list(ask(ScriptedEngine(area(OBJECT)), one, clicks=2).rows[0].scores)
    assert names == [
        *("1 click", "2 clicks"),
        *("1 click, points only", "2 clicks, points only"),
        *("1 click, oracle", "2 clicks, oracle"),
    ]


def test_the_report_has_the_means_the_clicks_needed_and_the_curves(two):
    stages = [area((10, 10, 31, 26)), area((10, 10, 31, 29)), area(OBJECT)]
    protocol = Interactive(3)
    result = ask(ScriptedEngine(*stages), two)
    report = protocol.summarise([result])
    # The first mask reaches 85 % and 90 % with its second click, the second mask never.
    assert scores(result.rows[0], CLICKS) == [336 / 441, 399 / 441, 1.0]
    assert report.numbers["noc"] == {way: {"80": 2.5, "85": 2.5, "90": 2.5} for way in WAYS}
    assert report.numbers["mean_iou"]["3 clicks"] == 0.5
    assert report.numbers["masks"] == 2
    means, by_source = report.tables
    assert means.headings == ["", "1", "2", "3", "NoC@80", "NoC@85", "NoC@90"]
    assert means.lines[0] == ["clicks", "38.1", "45.2", "50.0", "2.50", "2.50", "2.50"]
    assert [line[0] for line in means.lines] == list(WAYS)
    assert by_source.lines == [["all", "1", "2", "38.1", "45.2", "50.0"]]
    curves, reached = report.curves
    assert reached.lines["IoU 80 %"] == [(1.0, 0.0), (2.0, 50.0), (3.0, 50.0)]
    assert list(curves.lines) == list(WAYS)
    assert curves.lines[CLICKS][-1] == (3.0, 50.0)
    assert json.loads(json.dumps(report.numbers)) == report.numbers


def test_nothing_measured_is_a_report_of_dashes():
    report = Interactive(2).summarise([])
    assert report.tables[0].lines[0] == ["clicks", "–", "–", "–", "–", "–"]
    assert report.numbers["noc"][CLICKS] == {"80": None, "85": None, "90": None}


def test_the_protocol_travels_to_workers():
    assert pickle.loads(pickle.dumps(Interactive(3))) == Interactive(3)


def test_a_protocol_without_clicks_is_refused():
    with pytest.raises(InputError, match="clicks is 0"):
        Interactive(0)


def clicked(*ious):
    """An image with one mask of these IoUs, click by click, whatever the way."""
    names = Interactive(len(ious)).columns
    scores = {name: value for way in WAYS for name, value in zip(names(way), ious, strict=True)}
    return PhotoResult(0, "photo", rows=[Row(0, 1, scores)])


def test_the_clicks_to_an_iou_are_counted_by_hand_and_failures_count_as_all_of_them():
    first = [
        0.5,
        0.8,
        0.7,
        *[0.9] * 17,
    ]  # 80 % with click 2, though not with click 3; 85 and 90 % with click 4
    second = [0.86, *[0.5] * 19]
    third = [0.1 + 0.03 * i for i in range(20)]  # up to 0.67
    results = [clicked(*ious) for ious in (first, second, third)]
    report = Interactive().summarise(results)
    expected = {"80": (2 + 1 + 20) / 3, "85": (4 + 1 + 20) / 3, "90": (4 + 20 + 20) / 3}
    assert report.numbers["noc"][CLICKS] == pytest.approx(expected)
    reached = report.curves[1].lines["IoU 85 %"]
    assert [round(share, 1) for _, share in reached[:5]] == [33.3, 33.3, 33.3, 66.7, 66.7]
    means = report.tables[0]
    assert means.headings[1:9] == ["1", "2", "3", "4", "5", "10", "15", "20"]
    assert means.lines[0][-3:] == ["7.67", "8.33", "14.67"]
    assert len(report.numbers["mean_iou"]) == 60
