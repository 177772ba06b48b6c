"""Photos on which the loss is higher, within ε and the grey levels."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pocketsam.models.architectures import build
from pocketsam.models.layers import Normalise
from pocketsam.training.loop import train
from pocketsam.training.losses.adversarial import Adversarial
from pocketsam.training.losses.supervised import Supervised
from pocketsam.training.samples.stream import SEEDS
from shards import blocks, write_shard
from transfer import recipe


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Two photos of 64 × 64 pixels with an object each, black and white pixels among them."""
    torch.manual_seed(1)
    levels = torch.tensor([0, 2, 128, 253, 255], dtype=torch.uint8)
    masks = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    masks[..., 4:12, 4:12] = 255
    return {
        "image": levels[torch.randint(5, (2, 3, 64, 64))],
        "seed": torch.tensor([3, 4]),
        "masks": masks,
        "boxes": torch.tensor([16.0, 16, 48, 48]).expand(2, 1, 4),
    }


@pytest.fixture
def loss() -> Supervised:
    torch.manual_seed(0)
    return Supervised(build("patches", 64), Normalise((127.0,) * 3, (128.0,) * 3), 1, [1], "focal")


def test_the_loss_of_the_changed_photos_is_higher(loss: Supervised, batch: dict[str, Tensor]) -> None:
    adversarial = Adversarial(loss, epsilon=4, step_size=1, steps=4, share=1)
    before = loss(batch, 0)["loss"].item()
    assert adversarial(batch, 0)["loss"].item() > before


@pytest.mark.parametrize(
    ("share", "changed"), [(1.0, [True, True]), (0.5, [True, False]), (0.25, [True, False])]
)
def test_changes_stay_within_epsilon_and_are_of_a_share_of_the_photos(
    loss: Supervised, batch: dict[str, Tensor], share: float, changed: list[bool]
) -> None:
    adversarial = Adversarial(loss, epsilon=3, step_size=2, steps=3, share=share)
    images = adversarial.changed(batch, 0)
    assert images.min() >= 0
    assert images.max() <= 255
    distance = (images - batch["image"].float()).abs()
    assert distance.max() == 3
    assert (distance.amax((1, 2, 3)) > 0).tolist() == changed


def test_the_weights_learn_from_it_and_the_mode_stays(loss: Supervised, batch: dict[str, Tensor]) -> None:
    adversarial = Adversarial(loss, epsilon=2, step_size=1, steps=1, share=1).train()
    adversarial(batch, 0)["loss"].backward()
    assert loss.training
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.sam.image_encoder.parameters())


def test_a_recipe_trains_by_it_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    shard = write_shard(
        tmp_path / "s.tar", {name: blocks((2, 2, 28, 28), (32, 5, 56, 36)) for name in "abcd"}
    )
    changes: dict[str, object] = {"train": [str(shard)], "epsilon": 4, "steps": 4, "workers": 1}
    train(recipe(tmp_path, "adversarial", "whole", **changes), quiet=True)
    train(recipe(tmp_path, "adversarial", "stopped", **changes, stop=2), quiet=True)
    train(recipe(tmp_path, "adversarial", "stopped", **changes), quiet=True)
    whole, resumed = (load_file(tmp_path / out / "state.safetensors") for out in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_the_share_is_the_same_however_a_batch_is_divided(loss: Supervised, share: float) -> None:
    adversarial = Adversarial(loss, epsilon=2, step_size=1, steps=1, share=share)
    seeds = 3 * SEEDS + torch.arange(100)
    together = adversarial._is_changed(seeds)
    assert int(together.sum()) == round(100 * share)
    assert torch.equal(torch.cat([adversarial._is_changed(one) for one in seeds.split(1)]), together)
