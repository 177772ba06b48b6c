"""Panes and textures with known masks, on models whose masks are known."""

import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.evaluation.results import PhotoResult, Row
from pocketsam.evaluation.session import run
from pocketsam.robustness.studies.glass import MIRROR, OPAQUE, PANES, Glass, _Pane
from pocketsam.robustness.studies.texture import CONFLICT, OUTLINE, SETUPS, TextureAgainstShape, _Cues
from pocketsam.segmenter import Segmenter
from predictors import SIDE, EmptyEngine, PerfectEngine
from shards import blocks, write_shard


@pytest.fixture
def data(tmp_path):
    masks = blocks((4, 20, 30, 50), (40, 8, 60, 60), size=(SIDE, SIDE))
    return Shards(write_shard(tmp_path / "a.tar", {"a": masks, "b": masks}))


@pytest.fixture
def sample(data):
    return data.read(0).promptable()


def empty() -> Segmenter:
    return Segmenter(engine=EmptyEngine())


@pytest.mark.parametrize("kind", PANES)
def test_a_pane_changes_the_photo_only_where_it_is(sample, kind) -> None:
    pane = _Pane.of(sample, 0)
    composed = pane.compose(kind)
    np.testing.assert_array_equal(composed[~pane.mask], sample.image[~pane.mask])
    assert 0.05 < pane.mask.mean() < 0.3
    inside = pane.mask & ~pane.edge
    if kind == MIRROR:
        expected = 0.95 * sample.image[:, ::-1][inside]
        np.testing.assert_allclose(composed[inside], expected, atol=0.51)
    if kind == OPAQUE:
        assert len(np.unique(composed[inside], axis=0)) == 1


def test_a_model_that_sees_greys_finds_the_opaque_pane(data) -> None:
    results = run(Glass(), data, lambda: Segmenter(engine=PerfectEngine()))
    opaque = [row for result in results for row in result.rows if row.prompt["pane"] == OPAQUE]
    assert all(row.scores["interior"] > 0.5 for row in opaque)
    assert all(row.scores["reflection"] is None for row in opaque)
    own = [row for result in results for row in result.rows if row.mask >= 0]
    assert len(own) == 4
    assert all(row.scores["box"] > 0.9 for row in own)


def test_empty_masks_take_nothing_of_a_pane_with_them(data) -> None:
    study = Glass()
    results = run(study, data, empty)
    panes = study.summarise(results).numbers["panes"]
    assert all(panes[kind]["exterior"] == panes[kind]["box"] == 0 for kind in PANES)


def test_the_pictures_have_the_cues_that_they_are_named_after(sample) -> None:
    cues = _Cues.of(sample, 0)
    assert cues.shape.sum() == 20 * 52
    overlap = cues.shape & cues.disc
    x, y = cues.click(CONFLICT)
    assert overlap[y, x]
    x, y = cues.click(OUTLINE)
    assert cues.shape[y, x]
    background = np.clip(np.rint(cues.textures[0]), 0, 255)
    outlined = cues.picture(OUTLINE)
    changed = (outlined != background).any(axis=-1)
    assert (outlined[changed] == 0).all()
    assert 0 < changed.sum() < 6 * 2 * (20 + 52)


def test_the_shape_bias_is_the_share_of_choices_for_the_shape() -> None:
    def row(setup: str, shape: float, texture: float) -> Row:
        return Row(0, 1, {"shape": shape, "texture": texture}, {"setup": setup})

    pairs = [(0.9, 0.2), (0.3, 0.6), (0.1, 0.8), (0.4, 0.2)]  # of which the last is no choice
    rows = [[row(setup, *pair) for setup in SETUPS] for pair in pairs]
    results = [PhotoResult(i, str(i), rows=some) for i, some in enumerate(rows)]
    numbers = TextureAgainstShape().summarise(results).numbers
    assert (numbers["choices"], numbers["photos"]) == (3, 4)
    assert numbers["shape_bias"] == pytest.approx(1 / 3)


def test_without_a_choice_there_is_no_bias(data) -> None:
    study = TextureAgainstShape()
    numbers = study.summarise(run(study, data, empty)).numbers
    assert numbers["shape_bias"] is None
    assert numbers["mean_iou"][CONFLICT] == {"shape": 0, "texture": 0}


@pytest.mark.parametrize("study", [Glass(), TextureAgainstShape()], ids=["glass", "texture"])
def test_a_run_is_repeated_exactly_and_draws_a_sheet(data, study) -> None:
    results = run(study, data, empty)
    assert run(study, data, empty, photos=[1]) == results[1:]
    assert study.pictures(results, data, empty)["examples.jpg"].startswith(b"\xff\xd8")
