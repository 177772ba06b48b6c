"""Saliency, of a head that is right and of one that is not."""

import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.evaluation.protocols.saliency import Saliency
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Segmenter
from predictors import SIDE, PerfectEngine
from shards import blocks, write_shard


def segmenter(logit: float) -> Segmenter:
    """One whose head finds all that is not black, with this logit inside."""
    found = Segmenter(engine=PerfectEngine())
    found.head = lambda photo: np.where(photo.image[..., 0] > 25, logit, -logit).astype(np.float32)
    return found


@pytest.fixture
def data(tmp_path):
    size = (SIDE, SIDE)
    drawn = {
        "one": blocks((8, 8, 40, 40), size=size),
        "two": blocks((8, 8, 24, 24), (32, 32, 56, 56), size=size),
    }
    write_shard(tmp_path / "a.tar", drawn, "salient")
    write_shard(tmp_path / "b.tar", {"other": blocks((0, 0, 8, 8), size=size)}, "other")
    return Shards(tmp_path)


def test_a_perfect_map_has_perfect_scores(data) -> None:
    report = Saliency().summarise(run(Saliency(), data, lambda: segmenter(20)))
    assert report.numbers["photos"] == 3
    means = report.numbers["mean_iou"]
    assert means["IoU"] > 0.99
    assert means["MAE"] < 0.03  # edges mix with their neighbours
    assert means["S-measure"] > 0.95
    assert report.numbers["max-F"] > 0.97
    assert report.tables[0].lines[0][0] == "3"


def test_a_map_of_the_background_scores_badly(data) -> None:
    report = Saliency().summarise(run(Saliency(), data, lambda: segmenter(-20)))
    assert report.numbers["mean_iou"]["IoU"] < 0.05
    assert report.numbers["mean_iou"]["MAE"] > 0.9


def test_only_the_named_sources_are_measured(data) -> None:
    protocol = Saliency(source=("salient",))
    report = protocol.summarise(run(protocol, data, lambda: segmenter(20)))
    assert report.numbers["photos"] == 2
