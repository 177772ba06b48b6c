"""What the studies of style, occlusion and weather do to photos."""

from itertools import pairwise

import numpy as np
import pytest

from pocketsam.data.sample import Sample
from pocketsam.robustness.studies import STUDIES
from pocketsam.robustness.studies.occlusion import PATCHES, Occlusion
from pocketsam.robustness.studies.style import texture, transport
from pocketsam.robustness.studies.weather import FARTHEST, GREY, Weather, depth, fog
from pocketsam.robustness.study import Change, ChangeStudy
from pocketsam.utils.rle import encode
from shards import blocks

CHANGES = [study() for study in STUDIES.values() if issubclass(study, ChangeStudy)]
KINDS = [(study, kind) for study in CHANGES for group in study.kinds.values() for kind in group]


@pytest.fixture
def sample() -> Sample:
    """A photo of 84 × 56 pixels with noise in grains of 3 pixels, and one object that fills its left half."""
    random = np.random.default_rng(0)
    photo = np.kron(random.integers(60, 190, (19, 28, 3)), np.ones((3, 3, 1)))[:56].astype(np.uint8)
    return Sample("photo", photo, [encode(blocks((0, 0, 42, 56), size=(56, 84))[0])], [0])


@pytest.mark.parametrize(("study", "kind"), KINDS, ids=[f"{s.name}, {k}" for s, k in KINDS])
def test_a_change_keeps_the_size_and_depends_on_seed_and_name_alone(sample, study, kind) -> None:
    change = Change(kind, study.levels[-1])
    first, again = study.changed(sample, change), study.changed(sample, change)
    assert (first.shape, first.dtype) == (sample.image.shape, np.uint8)
    np.testing.assert_array_equal(first, again)
    assert (first != sample.image).mean() > 0.02


@pytest.mark.parametrize("kind", ["fog", "snow", "sand", "night", "wet lens", "rain"])
def test_stronger_weather_changes_more(sample, kind) -> None:
    found = [Weather().changed(sample, Change(kind, level)).astype(int) for level in (1, 3, 5)]
    distances = [np.abs(image - sample.image).mean() for image in found]
    assert distances == sorted(distances)
    assert distances[-1] > 1.5 * distances[0]


def test_fog_is_koschmieders_law() -> None:
    black = np.zeros((90, 40, 3))
    found = fog(black, 1.0, np.random.default_rng(0))
    distance = depth(90, 40)
    assert distance[0, 0] == FARTHEST
    assert distance[-1, 0] == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(found[60, 5], np.array(GREY) * (1 - np.exp(-0.4 * distance[60, 5])))


@pytest.mark.parametrize("level", [10, 50, 90])
def test_such_a_share_of_the_patches_is_covered(sample, level) -> None:
    study = Occlusion()
    anywhere = (study.changed(sample, Change("anywhere", level)) == 0).all(axis=-1)
    assert anywhere.mean() == pytest.approx(level / 100, abs=1 / PATCHES**2)
    on_objects = (study.changed(sample, Change("on objects", level)) == 0).all(axis=-1)
    assert not on_objects[:, 42:].any()
    assert on_objects[:, :42].mean() == pytest.approx(level / 100, abs=2 / PATCHES**2)


def test_transported_colours_have_the_styles_mean_and_covariance() -> None:
    random = np.random.default_rng(0)
    photo = random.uniform(0, 255, (40, 50, 3)).astype(np.float32)
    style = (photo @ random.uniform(0, 0.5, (3, 3)) + 20).astype(np.float32)
    found, wanted = transport(photo, style).reshape(-1, 3), style.reshape(-1, 3)
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(np.cov(found.T), np.cov(wanted.T), rtol=0.02, atol=2)


def test_a_made_texture_has_two_colours_and_what_is_between() -> None:
    random = np.random.default_rng(3)
    pixels = texture(40, 60, random).reshape(-1, 3)
    centred = pixels - pixels.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)
    assert values[1] < 1e-3 * values[0]


def test_what_a_level_covers_the_next_one_covers_too(sample) -> None:
    for kind in ("anywhere", "on objects"):
        covered = [
            (Occlusion().changed(sample, Change(kind, level)) == 0).all(axis=-1) for level in (10, 20, 60)
        ]
        assert all((less <= more).all() for less, more in pairwise(covered))
