"""What all tests of training share."""

from collections.abc import Iterator
from functools import cache

import pytest

from pocketsam.training import loop


@pytest.fixture(scope="session", autouse=True)
def _measured_once() -> Iterator[None]:
    """The device's matrix rate, which each run begins by measuring, is the same for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "matrix_rate", cache(loop.matrix_rate))
        yield
