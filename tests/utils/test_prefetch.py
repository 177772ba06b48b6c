from threading import Event

import pytest

from pocketsam.utils.prefetch import prefetch


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_come_in_order(count):
    with prefetch(lambda i: i * i, range(count)) as squares:
        assert [square.result() for square in squares] == [i * i for i in range(count)]


def test_one_item_is_loaded_ahead_and_never_two():
    loaded: list[int] = []
    with prefetch(lambda i: loaded.append(i) or i, range(4)) as items:
        for i in range(4):
            assert next(items).result() == i
            # The thread may still be loading the next one, but it has not begun the one after it.
            assert loaded[: i + 1] == list(range(i + 1)) and len(loaded) <= i + 2


def test_the_next_item_is_loaded_while_one_is_worked_on():
    begun = {i: Event() for i in range(3)}
    with prefetch(lambda i: begun[i].set(), range(3)) as items:
        next(items).result()
        assert begun[1].wait(timeout=20)


def test_an_item_that_cannot_be_loaded_stops_no_other():
    def load(i: int) -> float:
        return 1 / i

    with prefetch(load, [1, 0, 2]) as items:
        assert next(items).result() == 1
        with pytest.raises(ZeroDivisionError):
            next(items).result()
        assert next(items).result() == 0.5


def test_a_block_that_is_left_early_loads_no_more():
    loaded: list[int] = []
    with pytest.raises(KeyError), prefetch(loaded.append, range(1000)) as items:
        next(items).result()
        raise KeyError
    assert len(loaded) <= 2
