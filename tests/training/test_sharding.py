"""FSDP2: processes that share out weights, gradients and moments make the run of one process, and may change."""

from pathlib import Path

import numpy as np
import pytest

from pocketsam.training.config import Recipe
from pocketsam.training.recipe import parse_recipe
from runs import assert_near, kind_of, state_after
from shards import annotation_file, blocks, jpeg, write_tar

MASKS = blocks((2, 2, 28, 28), (32, 5, 56, 36), (10, 20, 50, 39))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)  # flat photos have channels without variance, which magnify every rounding
    files = []
    for name in "abcdef":
        photo = jpeg(rng.integers(0, 255, (40, 60, 3), np.uint8))
        files += [(f"{name}.jpg", photo), (f"{name}.json", annotation_file(name, MASKS, ""))]
    return write_tar(tmp_path / "photos.tar", files)


def recipe(shard: Path, out: str, **changes: object) -> Recipe:
    values = {
        "method": "supervised",
        "model": "patches",
        "image_size": 64,
        "out": str(shard.with_name(out)),
        "train": [str(shard)],
        "steps": 3,
        "batch": 4,
        "warmup": 0,
        "workers": 0,
        "learning_rate": 1e-4,
        "precision": "32-true",
        "checkpoint_every": 100,
    }
    return parse_recipe(values | changes)


def test_two_processes_make_the_run_of_one_also_where_they_take_it_over(shard: Path) -> None:
    one = state_after(recipe(shard, "one"))
    shared = {"devices": 2, "parallel": "fsdp"}
    two = state_after(recipe(shard, "two", **shared), processes=2)
    state_after(recipe(shard, "taken-over", stop=2))
    taken_over = state_after(recipe(shard, "taken-over", **shared), processes=2)
    assert one.keys() == two.keys() == taken_over.keys()
    for kind in ("exp_avg", "exp_avg_sq"):
        assert_near(kind_of(one, kind), kind_of(two, kind))
        assert_near(kind_of(one, kind), kind_of(taken_over, kind))
    for prefix in ("model.", "average."):
        expected, *found = (
            {name: value.float() for name, value in state.items() if name.startswith(prefix)}
            for state in (one, two, taken_over)
        )
        for values in found:
            assert_near(expected, values)
