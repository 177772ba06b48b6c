"""Edges by the benchmark of BSDS500, of a model whose masks are right."""

import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.protocols.edges import Edges
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Segmenter
from predictors import PerfectEngine
from shards import blocks, write_shard

SIZE = (64, 64)


def test_a_perfect_model_has_nearly_all_edges(tmp_path) -> None:
    # The first annotator sees two objects, the second one of them; JPEG keeps edges on multiples of 8.
    two = blocks((8, 8, 24, 24), (32, 8, 56, 56), (8, 8, 24, 24), size=SIZE)
    data = Shards(write_shard(tmp_path / "drawn.tar", {"two": two[:2]}, "drawn"))
    protocol = Edges(points_per_side=8, thresholds=5)
    results = run(protocol, data, lambda: Segmenter(engine=PerfectEngine()))
    report = protocol.summarise(results)
    assert report.numbers["photos"] == 1
    # On a photo this small the tolerance is below a pixel, and an edge between two pixels may be marked on either.
    assert report.numbers["ODS"] == report.numbers["OIS"] > 0.45
    assert report.tables[0].headings[2] == "ODS, %"
    assert report.curves[0].lines["edges"]


def test_other_sources_are_not_measured(tmp_path) -> None:
    data = Shards(write_shard(tmp_path / "drawn.tar", {"a": blocks((8, 8, 24, 24), size=SIZE)}, "drawn"))
    protocol = Edges(source=("bsds-test",))
    (result,) = run(protocol, data, lambda: Segmenter(engine=PerfectEngine()))
    assert not result.rows
    assert protocol.summarise([result]).numbers == {"photos": 0}


@pytest.mark.parametrize("values", [{"thresholds": 0}, {"points_per_side": 0}])
def test_settings_refuse_what_makes_no_sense(values) -> None:
    with pytest.raises(InputError, match="from 1 on"):
        Edges(**values)
