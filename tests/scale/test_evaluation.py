"""Which protocols can be measured on a cluster; what it measures: test_cluster.py."""

import pytest

from pocketsam.errors import InputError
from pocketsam.evaluation.job import Run, evaluate
from pocketsam.evaluation.protocols.efficiency import Efficiency


def test_a_protocol_that_takes_the_time_is_refused():
    with pytest.raises(InputError, match="efficiency takes the time of one machine; leave out --ray"):
        evaluate(Efficiency, {}, Run(pool=lambda *_: iter(())))
