"""A study whose changes are known, on models whose masks are known."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.session import run
from pocketsam.robustness.predictions import agreement
from pocketsam.robustness.studies.corruptions import Corruptions
from pocketsam.robustness.study import ChangeStudy
from pocketsam.segmenter import Segmenter
from pocketsam.utils.journal import Journal
from pocketsam.utils.rle import encode
from predictors import SIDE, PerfectEngine
from shards import blocks, write_shard


@dataclass(frozen=True)
class Covered(ChangeStudy):
    """The upper rows of the photo become black: `level` tenths of them, or one tenth less each level ("less")."""

    name, summary, description, follows = "covered", "covers rows", "Covers rows.", "nothing"
    kinds: ClassVar[dict[str, tuple[str, ...]]] = {"cover": ("more", "less")}

    def apply(self, sample, change, random):
        covered = sample.image.copy()
        share = change.level if change.kind == "more" else 6 - change.level
        covered[: share * SIDE // 8] = 0
        return covered


@pytest.fixture
def shard(tmp_path):
    tall = blocks((8, 0, 40, 64), size=(SIDE, SIDE))
    return Shards(write_shard(tmp_path / "a.tar", {"a": tall, "b": tall}))


@pytest.fixture
def report(shard):
    study = Covered(prompts=("point", "box"))
    results = run(study, shard, lambda: Segmenter(engine=PerfectEngine()))
    return study.summarise(results)


def test_the_mean_iou_is_that_of_the_share_that_is_left(report) -> None:
    found = report.numbers["mean_iou"]["box"]
    assert found["clean"] == 1.0
    for level in range(1, 6):
        assert found["more"][level]["clean"] == pytest.approx(1 - level / 8, abs=0.02)
        assert found["more"][level]["truth"] == pytest.approx(found["more"][level]["clean"])


def test_the_degradation_is_a_mean_over_levels_and_kinds(report) -> None:
    found = report.numbers["degradation"]["box"]
    assert found["more"] == pytest.approx(3 / 8, abs=0.02)
    assert found["mean"] == pytest.approx((found["more"] + found["less"]) / 2)


def test_a_change_that_is_not_worse_at_each_level_is_named(report) -> None:
    assert report.numbers["rises"]["box"] == {"less": [2, 3, 4, 5]}
    lines = {line[0]: line[-1] for line in report.tables[1].lines}
    assert lines["more"] == "yes"
    assert lines["less"] == "not at 2, 3, 4, 5"


def test_each_group_of_changes_is_a_plot(report) -> None:
    assert [one.title for one in report.curves] == ["cover (point)"]
    assert list(report.curves[0].lines) == ["more", "less"]


def test_other_levels_than_the_studys_are_refused() -> None:
    with pytest.raises(InputError, match="--levels 7"):
        Covered(levels=(1, 7))


def test_agreement_is_the_iou_and_empty_masks_agree() -> None:
    one, other = (encode(mask) for mask in blocks((0, 0, 10, 10), (0, 0, 10, 20)))
    nothing = encode(np.zeros((40, 60), bool))
    assert agreement([one, nothing, one], [other, nothing, nothing]) == [0.5, 1.0, 0.0]


def test_workers_and_an_interruption_change_no_number(shard, tmp_path) -> None:
    study, open_segmenter = Corruptions(levels=(2,)), partial(Segmenter, engine=PerfectEngine())
    results = run(study, shard, open_segmenter)
    assert run(study, shard, open_segmenter, workers=2) == results
    journal = Journal(tmp_path / "journal", {})
    run(study, shard, open_segmenter, photos=[1], journal=journal)
    assert run(study, shard, open_segmenter, journal=Journal(tmp_path / "journal", {})) == results
    other = run(replace(study, seed=1), shard, open_segmenter)
    assert other != results
