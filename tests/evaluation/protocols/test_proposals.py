"""Everything mode as proposals, of models whose answers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.protocols.proposals import Everything
from pocketsam.evaluation.results import PhotoResult, Row
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import encode
from shards import blocks, write_shard

GRID = Everything(points_per_side=8)
SIZE = (64, 64)
RECALLS = ("AR@10", "AR@100", "AR@1000")


@pytest.fixture
def data(tmp_path):
    # On multiples of 8: a JPEG keeps those edges as they are.
    two = blocks((8, 8, 24, 24), (8, 32, 56, 56), size=SIZE)
    one = blocks((16, 16, 48, 40), size=SIZE)
    return Shards(write_shard(tmp_path / "drawn.tar", {"two": two, "one": one}))


def measure(protocol, data, segmenter):
    return run(protocol, data, lambda: segmenter)


def scores(results):
    return [row.scores["best IoU"] for result in results for row in result.rows]


def test_a_perfect_model_proposes_every_mask_once(data, perfect):
    results = measure(GRID, data, perfect)
    report = GRID.summarise(results)
    assert scores(results) == [1.0] * 3
    assert [report.numbers[name] for name in RECALLS] == [1.0] * 3
    assert report.numbers["mean_iou"] == {"best IoU": 1.0}
    assert report.numbers["masks_per_photo"] == 1.5
    assert report.tables[0].lines[0][:6] == ["2", "100.0", "100.0", "100.0", "100.0", "1.5"]
    assert report.curves[0].lines["proposals"] == [(t / 100, 100.0) for t in range(50, 100, 5)]


@pytest.mark.parametrize("stability", [0.95, 0])  # 0 lets masks without pixels through
def test_an_empty_model_finds_none(data, empty, stability):
    protocol = replace(GRID, stability_score_thresh=stability)
    results = measure(protocol, data, empty)
    numbers = protocol.summarise(results).numbers
    assert [result.facts["masks"] > 0 for result in results] == [stability == 0] * 2
    assert scores(results) == [0.0] * 3
    assert [numbers[name] for name in RECALLS] == [0.0] * 3


def test_where_no_proposal_is_confident_enough_nothing_is_found(data, perfect):
    protocol = replace(GRID, pred_iou_thresh=0.995)
    results = measure(protocol, data, perfect)
    assert scores(results) == [0.0] * 3
    assert [result.detections for result in results] == [[], []]
    assert results[0].rows[0].answer is None
    assert protocol.summarise(results).numbers["AR@1000"] == 0.0


def test_a_mask_is_compared_with_the_proposal_that_overlaps_it_most(data, perfect):
    class Shifted(type(perfect.engine)):
        def answer(self, *prompt):
            return np.roll(super().answer(*prompt), 4, axis=1)

    (result, _) = measure(GRID, data, Segmenter(engine=Shifted()))
    widths = np.array([16, 48])
    assert scores([result]) == pytest.approx((widths - 4) / (widths + 4))
    first = result.rows[0]
    (x, y) = first.prompt["points"][0]
    assert (8 <= x < 24, 8 <= y < 24, first.prompt["labels"]) == (True, True, [1])
    assert first.answer == encode(blocks((12, 8, 28, 24), size=SIZE)[0])


def test_the_most_confident_proposals_count():
    masks = blocks(*[(3 * i, 0, 3 * i + 3, 40) for i in range(20)])
    found = [{"segmentation": encode(mask), "score": i / 20} for i, mask in enumerate(masks)]
    rows = [Row(i, 120, {"best IoU": 1.0}, truth=encode(mask)) for i, mask in enumerate(masks)]
    result = PhotoResult(7, "p", rows=rows, facts={"seconds": 0.5, "masks": 20}, detections=found[::-1])
    numbers = Everything().summarise([result]).numbers
    assert [numbers[name] for name in RECALLS] == [0.5, 1.0, 1.0]
    assert numbers["median_seconds_per_photo"] == 0.5


def test_results_survive_json_and_do_not_depend_on_the_batch(data, perfect):
    one_by_one = Segmenter(engine=type(perfect.engine)(), batch=1)
    results, others = (
        [replace(result, facts={"masks": result.facts["masks"]}) for result in measure(GRID, data, model)]
        for model in (perfect, one_by_one)
    )
    assert results == others
    assert max(len(points) for points in one_by_one.engine.decoded) == 1
    assert [PhotoResult.from_dict(json.loads(json.dumps(r.to_dict()))) for r in results] == results


def test_a_photo_without_masks_adds_nothing(tmp_path, perfect):
    data = Shards(write_shard(tmp_path / "none.tar", {"none": blocks((0, 0, 0, 0), size=SIZE)}))
    report = GRID.summarise(measure(GRID, data, perfect))
    assert perfect.engine.encoded == 0
    assert report.numbers["AR@10"] is None
    assert report.tables[0].lines == [["0", "–", "–", "–", "–", "–", "–"]]


def test_a_setting_that_makes_no_sense_is_named_at_once():
    with pytest.raises(InputError, match="points_per_side is 0; give a whole number from 1 to 1024"):
        Everything(points_per_side=0)
