"""Agreement with a teacher: with oneself, with one who finds nothing, and where pairs of points do not fit."""

import json
import pickle
from functools import partial

import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.protocols.agreement import Teacher
from pocketsam.evaluation.results import PhotoResult
from pocketsam.evaluation.session import measure, run
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import decode
from shards import blocks, jpeg, paint, write_shard, write_tar

# Every point of the photo is on one of two objects.
HALVES = blocks((0, 0, 64, 20), (0, 20, 64, 64), size=(64, 64))
DISTANCES = (20, 40, 500)


@pytest.fixture
def halves(tmp_path):
    return Shards(write_shard(tmp_path / "halves.tar", {"one": HALVES, "two": HALVES}))


def against(teacher):
    return Teacher(lambda: teacher, points=3, distances=DISTANCES)


def test_a_model_agrees_with_itself_entirely(perfect, halves):
    result = measure(against(perfect), halves, perfect, 0)
    asked = [{name: value for name, value in row.scores.items() if value is not None} for row in result.rows]
    assert asked == [{"point": 1.0}] * 3 + [{"20 px": 1.0}, {"40 px": 1.0}]
    assert all(list(row.scores) == ["point", "20 px", "40 px", "500 px"] for row in result.rows)
    assert all(row.answer == row.truth for row in result.rows)


def test_where_one_finds_something_and_the_other_nothing_they_disagree(perfect, empty, halves):
    for teacher, student in ((perfect, empty), (empty, perfect)):
        result = measure(against(teacher), halves, student, 0)
        assert [value for row in result.rows for value in row.scores.values() if value is not None] == [
            0.0
        ] * 5


def test_where_both_find_nothing_they_agree(empty, halves):
    rows = measure(against(empty), halves, empty, 0).rows
    assert [row.scores["point"] for row in rows[:3]] == [1.0] * 3
    assert [row.area for row in rows] == [0] * 5


def test_the_mask_of_the_teacher_is_the_true_one(perfect, empty, halves):
    for row in measure(against(perfect), halves, empty, 0).rows:
        y = row.prompt["points"][0][1]
        np.testing.assert_array_equal(decode(row.truth), HALVES[int(y >= 20)])
        assert row.area == HALVES[int(y >= 20)].sum()
        assert not decode(row.answer).any()


def test_both_are_asked_the_same_and_each_kind_in_one_call(perfect, empty, halves):
    rows = measure(against(perfect), halves, empty, 0).rows
    for model in (perfect, empty):
        assert model.engine.encoded == 1
        assert [points.shape[:2] for points in model.engine.decoded] == [
            (3, 2),
            (2, 3),
        ]  # with a padding point
    for ours, theirs in zip(empty.engine.decoded, perfect.engine.decoded, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [row.prompt["labels"] for row in rows] == [[1]] * 3 + [[1, 0]] * 2
    apart = [np.hypot(*np.subtract(*row.prompt["points"])) for row in rows[3:]]
    assert apart == pytest.approx([20, 40])


def test_a_photo_too_small_for_a_distance_has_no_such_prompt_and_is_counted(perfect, halves):
    protocol = Teacher(lambda: perfect, points=1, distances=(500, 20))
    results = run(protocol, halves, lambda: perfect)
    assert [[row.mask for row in result.rows] for result in results] == [[0, 2]] * 2
    numbers = protocol.summarise(results).numbers
    assert numbers["prompts"] == {"point": 2, "500 px": 0, "20 px": 2}
    assert numbers["too_small_photos"] == {"500 px": 2, "20 px": 0}
    assert numbers["mean_iou"]["500 px"] is None


def test_a_photo_too_small_for_any_distance_still_has_its_points(perfect, halves):
    result = measure(Teacher(lambda: perfect, points=2, distances=(500,)), halves, perfect, 0)
    assert [row.scores for row in result.rows] == [{"point": 1.0, "500 px": None}] * 2


def test_photos_need_no_masks(perfect, tmp_path):
    photo = jpeg(paint(HALVES))
    dataset = Shards(write_tar(tmp_path / "bare.tar", [("bare.jpg", photo)]), labelled=False)
    assert len(measure(against(perfect), dataset, perfect, 0).rows) == 5


def test_prompts_change_with_seed_and_photo_only(perfect, halves):
    def prompts(photo=0, **settings):
        protocol = Teacher(lambda: perfect, distances=(20,), **settings)
        return [row.prompt["points"] for row in measure(protocol, halves, perfect, photo).rows]

    assert prompts() == prompts()
    for other in (prompts(photo=1), prompts(seed=1)):
        assert all(a != b for a, b in zip(prompts(), other, strict=True))
    assert prompts()[:2] + prompts()[-1:] == prompts(points=2)


def test_the_result_is_the_same_in_any_batch_and_survives_json(perfect, empty, halves):
    whole = measure(against(perfect), halves, empty, 0)
    single = measure(against(perfect), halves, Segmenter(engine=empty.engine, batch=1), 0)
    assert single == whole
    assert PhotoResult.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


def test_the_teacher_is_opened_once(perfect, halves):
    opened = []
    protocol = Teacher(lambda: opened.append(1) or perfect, points=1, distances=())
    run(protocol, halves, lambda: perfect)
    assert opened == [1]


def test_the_protocol_travels_to_workers_without_its_model(perfect, halves):
    protocol = Teacher(partial(Segmenter, engine=perfect.engine), points=1, distances=())
    settings = dict(vars(protocol))
    result = measure(protocol, halves, perfect, 0)
    assert vars(protocol) == settings, "an opened model would travel, too"
    assert measure(pickle.loads(pickle.dumps(protocol)), halves, perfect, 0) == result


def test_the_report_has_a_column_for_each_kind_of_prompt(perfect, empty, halves):
    protocol = against(perfect)
    results = [measure(protocol, halves, perfect, 0), measure(protocol, halves, empty, 1)]
    report = protocol.summarise(results)
    means, by_source = report.tables
    assert means.headings == ["", "point", "20 px", "40 px", "500 px"]
    assert means.lines == [["mean IoU", "50.0", "50.0", "50.0", "–"], ["prompts", "6", "2", "2", "0"]]
    assert by_source.lines[-1] == ["all", "2", "10", "50.0", "50.0", "50.0", "–"]
    (curves,) = report.curves
    assert list(curves.lines.values()) == [[(20.0, 50.0), (40.0, 50.0)]] * 2
    assert json.loads(json.dumps(report.numbers)) == report.numbers


def test_nothing_measured_is_a_report_of_dashes(perfect):
    report = against(perfect).summarise([])
    assert report.tables[0].lines == [["mean IoU", *"––––"], ["prompts", *"0000"]]
    assert not report.curves


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"points": 0}, "points is 0"), ({"distances": (100, 0)}, "a distance is 0 pixels")],
)
def test_settings_that_ask_nothing_are_refused(perfect, settings, message):
    with pytest.raises(InputError, match=message):
        Teacher(lambda: perfect, **settings)
