"""Prompts mapped onto everything mode's masks, with a model that is right about drawn photos."""

import json

import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError, ModelError
from pocketsam.evaluation.protocols.mapped import Mapped
from pocketsam.evaluation.session import measure, run
from pocketsam.utils.rle import decode
from shards import blocks, write_shard

TWO = blocks((4, 6, 30, 28), (36, 8, 58, 56), size=(64, 64))
DISTANCES = (20, 40, 500)


@pytest.fixture
def two(tmp_path):
    return Shards(write_shard(tmp_path / "two.tar", {"one": TWO, "two": TWO}))


def scores(result, way):
    return [
        value
        for row in result.rows
        for name, value in row.scores.items()
        if name.endswith(way) and value is not None
    ]


def test_where_everything_mode_is_right_mapping_loses_nothing(perfect, two):
    result = measure(Mapped(distances=DISTANCES), two, perfect, 0)
    assert result.facts == {"proposals": 2}
    # two random pairs fit; each of the two masks has a box, and pairs of 20 and 40 pixels
    assert [len(scores(result, way)) for way in ("agreement", "mapped", "own prompts")] == [2, 6, 6]
    assert set(scores(result, "mapped") + scores(result, "own prompts")) == {1.0}


def test_what_everything_mode_did_not_find_no_prompt_brings_back(empty, two):
    result = measure(Mapped(distances=DISTANCES), two, empty, 0)
    assert result.facts == {"proposals": 0}
    assert set(scores(result, "agreement")) == {1.0}  # both find nothing
    assert set(scores(result, "mapped") + scores(result, "own prompts")) == {0.0}
    assert not decode(result.rows[-1].answer).any()


def test_the_report_has_three_means_and_the_numbers_of_prompts(perfect, two):
    protocol = Mapped(distances=DISTANCES)
    report = protocol.summarise(run(protocol, two, lambda: perfect))
    (table,) = report.tables
    assert table.headings == ["", "20 px", "40 px", "500 px", "box"]
    assert table.lines[2] == [
        "the model's own prompts: IoU with the ground truth",
        "100.0",
        "100.0",
        "–",
        "100.0",
    ]
    assert table.lines[3][1:] == ["2", "2", "0", "0"]
    assert table.lines[4][1:] == ["4", "4", "0", "4"]
    assert json.loads(json.dumps(report.numbers))["proposals_per_photo"] == 2
    (curves,) = report.curves
    assert curves.lines["mapped"] == [(20, 100), (40, 100)]


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(InputError, match="a distance is 0 pixels"):
        Mapped(distances=(0,))
    with pytest.raises(ModelError, match=r"no\.onnx: there is no such file"):
        Mapped(fastsam=tmp_path / "no.onnx")
