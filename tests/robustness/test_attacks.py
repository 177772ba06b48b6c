"""Attacks on a small network with random weights: gradients, bounds, files, and what is refused."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Shards
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import InputError, ModelError
from pocketsam.evaluation.session import run
from pocketsam.models.architectures import build
from pocketsam.predict.image import preprocess
from pocketsam.predict.prompts import Prompts
from pocketsam.robustness.attacks.goals import GOALS, margin, removal
from pocketsam.robustness.attacks.network import WhiteBox
from pocketsam.robustness.attacks.steps import Attack, perturb
from pocketsam.robustness.attacks.universal import add_pattern, find_pattern
from pocketsam.robustness.studies.attacks import METHODS, Attacks
from pocketsam.robustness.studies.universal import Universal
from pocketsam.segmenter import Segmenter
from predictors import PerfectEngine
from shards import blocks, write_shard

SIZE = 64
CLICK = Prompts.of(points=[[[30, 20]]], photo_size=(48, 80))


def network(resize="squash", resampling="antialiased") -> WhiteBox:
    torch.manual_seed(0)
    config = ModelConfig("small", SIZE, resize, resampling=resampling)
    return WhiteBox(build("patches", SIZE).eval().requires_grad_(False), config)


@pytest.fixture
def box() -> WhiteBox:
    return network()


@pytest.fixture
def photo() -> np.ndarray:
    """48 × 80 pixels, black and white among them, beyond which nothing may go."""
    return np.random.default_rng(0).choice(np.array([0, 3, 128, 252, 255], np.uint8), (48, 80, 3))


@pytest.mark.parametrize("resampling", ["antialiased", "plain"])
@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_preprocessing_is_the_models_own(photo, resize, resampling) -> None:
    box = network(resize, resampling)
    found = box.preprocess(torch.from_numpy(photo.astype(np.float32)))
    level = 1 / min(box.config.std)
    np.testing.assert_allclose(found.numpy(), preprocess(photo, box.config), atol=1.01 * level)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_gradients_through_preprocessing_equal_finite_differences(photo, goal, resize) -> None:
    box = network(resize)
    box.sam.double()
    target = torch.zeros(*box.to_cells(np.zeros((48, 80), bool)).shape, dtype=torch.bool)
    target[3:7, 3:7] = True

    def loss(pixels):
        return GOALS[goal](box.logits(pixels, CLICK), target, 10.0)

    pixels = torch.from_numpy(photo.astype(np.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(pixels), pixels)
    for place in [(0, 0, 0), (20, 30, 1), (47, 79, 2)]:
        step = torch.zeros_like(pixels)
        step[place] = 1e-3
        with torch.no_grad():
            difference = (loss(pixels + step) - loss(pixels - step)) / 2e-3
        assert gradient[place].item() == pytest.approx(difference.item(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.5, 1, 8])
@pytest.mark.parametrize("method", METHODS)
def test_a_saved_photo_is_within_epsilon_and_the_grey_levels(box, photo, method, epsilon) -> None:
    attack = Attack(method, epsilon=epsilon, steps=3, step_size=2)
    changed = perturb(attack, box, photo, CLICK, np.random.default_rng(0))
    file = BytesIO()
    Image.fromarray(changed).save(file, "PNG")
    saved = np.asarray(Image.open(file))
    np.testing.assert_array_equal(saved, changed)
    assert np.abs(saved.astype(int) - photo).max() <= epsilon
    assert (saved != photo).any() == (epsilon >= 1)


@pytest.mark.parametrize("goal", GOALS)
def test_the_saved_photo_has_a_lower_loss_and_more_steps_a_lower_one_yet(box, photo, goal) -> None:
    target = blocks((10, 10, 50, 40), size=(48, 80))[0]
    cells = box.to_cells(target)

    def loss(image):
        logits = box.logits(torch.from_numpy(image.astype(np.float32)), CLICK)
        return GOALS[goal](logits, cells, 2.0).item()

    few, many = (
        perturb(Attack("bim", goal, steps=n), box, photo, CLICK, np.random.default_rng(0), target)
        for n in (1, 8)
    )
    assert loss(many) < loss(few) < loss(photo)


def test_the_losses_are_zero_where_the_attack_has_what_it_wants() -> None:
    target = torch.tensor([[True, False]])
    wanted = torch.tensor([[12.0, -12.0]])
    assert GOALS["manipulation"](wanted, target, 10.0) == margin(wanted, target) == 0
    assert GOALS["removal"](torch.full((1, 2), -10.0), None, 10.0) == 0
    assert GOALS["removal"](torch.tensor([[-10.0, 0.0]]), None, 10.0) == 50
    assert GOALS["enlargement"](torch.tensor([[10.0, 8.0]]), None, 10.0) == 2
    assert margin(torch.tensor([[0.0, 2.0]]), target) == 2


@pytest.fixture
def data(tmp_path):
    return Shards(write_shard(tmp_path / "a.tar", {name: blocks((5, 5, 40, 35)) for name in "abc"}))


def opened() -> Segmenter:
    box = network()
    return Segmenter(engine=TorchEngine(box.sam, box.config, threads=1))


def test_every_attack_is_measured_the_same_in_every_run(data) -> None:
    study = Attacks(methods=("fgsm", "pgd"), epsilons=(2, 8), steps=(2,), points=3)
    results = run(study, data, opened)
    assert run(study, data, opened, photos=[1]) == results[1:2]
    report = study.summarise(results)
    assert set(report.numbers["attacks"]) == {
        "removal, fgsm, ε 2",
        "removal, fgsm, ε 8",
        "removal, pgd-2, ε 2",
        "removal, pgd-2, ε 8",
    }
    assert [one.x for one in report.curves] == ["ε, grey levels"]


def test_another_models_gradients_attack_an_engine_without(data) -> None:
    study = Attacks(steps=(1,), surrogate=opened, against={"itself": opened})
    (result,) = run(study, data, lambda: Segmenter(engine=PerfectEngine()), photos=[0])
    assert all(0 <= row.scores["attacked"] <= 1 for row in result.rows)


def test_without_gradients_the_line_says_what_to_do(data) -> None:
    with pytest.raises(ModelError, match="--engine torch"):
        run(Attacks(), data, lambda: Segmenter(engine=PerfectEngine()))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="fgsm,bim,pgd,cw"):
        Attacks.read({"methods": "pgd,deepfool"})


@pytest.fixture
def other(tmp_path):
    """Photos that a universal pattern is made with."""
    return write_shard(tmp_path / "fit.tar", {name: blocks((5, 5, 40, 35)) for name in "de"})


def test_a_universal_pattern_is_within_epsilon_and_lowers_the_loss_of_its_photos(box, photo) -> None:
    pattern = find_pattern(box, [(photo, CLICK)], 4, passes=6, step_size=1, threshold=2)
    changed = add_pattern(photo, pattern, 4)

    def loss(image):
        return removal(box.logits(torch.from_numpy(image.astype(np.float32)), CLICK), None, 2.0).item()

    assert 0 < np.abs(changed.astype(int) - photo).max() <= 4
    assert loss(changed) < loss(photo)


def test_a_universal_pattern_is_measured_the_same_in_every_run(data, other, capsys) -> None:
    study = Universal(
        fit=other, fit_photos=2, passes=1, points=2, epsilons=(2, 8), against={"itself": opened}
    )
    results = run(study, data, opened)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "making the pattern of ε 2: 2 steps on 2 photos" in said
    assert run(study, data, opened, photos=[1]) == results[1:2]
    assert list(study.summarise(results).numbers["epsilons"]) == [2, 8]
    for row in (row for result in results for row in result.rows):
        assert row.scores["itself"] == row.scores["click"]


def test_everything_mode_is_measured_under_attack_where_it_is_wanted(data) -> None:
    for everything in (False, True):
        (result,) = run(Attacks(steps=(1,), everything=everything), data, opened, photos=[0])
        assert all((row.scores["everything"] is not None) == everything for row in result.rows)


def test_a_network_in_half_precision_is_attacked_too(photo) -> None:
    box = network()
    box.sam.bfloat16()
    changed = perturb(Attack(steps=1), box, photo, CLICK, np.random.default_rng(0))
    assert 0 < np.abs(changed.astype(int) - photo).max() <= 8
