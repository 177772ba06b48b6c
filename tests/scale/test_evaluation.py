"""A protocol on a Ray cluster gives the results of one process, and survives photos that end processes."""

from functools import partial

import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import InputError
from pocketsam.evaluation.job import Run, evaluate
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.protocols.efficiency import Efficiency
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Segmenter
from predictors import SIDE, PerfectEngine
from scaling import DeadlyClicks
from shards import blocks, write_shard

MASKS = blocks((4, 6, 30, 28), (36, 8, 58, 56), size=(SIDE, SIDE))


def test_results_are_those_of_one_process_and_a_poison_photo_is_named(tmp_path, ray_address):
    from pocketsam.scale.evaluation import pool_on_ray

    shard = write_shard(tmp_path / "s.tar", {str(number): MASKS for number in range(10)})
    open_model = partial(Segmenter, engine=PerfectEngine())
    one = run(Clicks(), Shards(shard), open_model)
    many = run(DeadlyClicks(), Shards(shard), open_model, pool=pool_on_ray(ray_address))
    assert many[3].missing == "photo 3: ends the process that measures it"
    assert [*many[:3], *many[4:]] == [*one[:3], *one[4:]]


def test_a_protocol_that_takes_the_time_is_refused():
    with pytest.raises(InputError, match="efficiency takes the time of one machine; leave out --ray"):
        evaluate(Efficiency, {}, Run(pool=lambda *_: iter(())))
