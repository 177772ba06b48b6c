"""Models whose score is known, ready to be measured."""

import pytest

from pocketsam.segmenter import Segmenter
from predictors import EmptyEngine, PerfectEngine


@pytest.fixture
def perfect():
    return Segmenter(engine=PerfectEngine())


@pytest.fixture
def empty():
    return Segmenter(engine=EmptyEngine())
