"""What holds for every head: a run's end depends on its recipe alone, and processes only share the work."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pocketsam.config import HEAD_KEY, HeadConfig
from pocketsam.errors import InputError, ModelError
from pocketsam.models.checkpoints import load_tensors, save_tensors
from pocketsam.models.heads import HEADS
from pocketsam.models.heads.base import load_head_model
from pocketsam.training.config import Recipe
from pocketsam.training.loop import train
from pocketsam.training.samples.stream import batches
from pocketsam.training.state import TrainingState
from pocketsam.training.tasks import TASKS
from transfer import class_tar, coco_set, fabric, recipe

SMALL: dict[str, dict[str, Any]] = {
    "classification": {"mixup": 0.8, "cutmix": 1.0},
    "detection": {"channels": 16, "depth": 1, "objects": 4},
    "semantic": {"channels": 32, "queries": 4, "layers": 2},
}
VARIED = {"min_crop": 0.6, "blur": 0.3, "jpeg": 0.3}


def asked(folder: Path, method: str, out: str = "run", **changes: object) -> Recipe:
    data = class_tar(folder) if method == "classification" else coco_set(folder)
    varied = VARIED if method == "classification" else VARIED | {"zoom_out": 0.3}
    values = {"model": "patches", "train": [str(data)], "augmentation": varied} | SMALL[method] | changes
    return recipe(folder, method, out, **values)


def test_every_head_has_a_method_that_trains_it() -> None:
    assert set(HEADS) == set(SMALL) <= set(TASKS)


@pytest.mark.parametrize("method", SMALL)
def test_stopped_and_resumed_is_bitwise_the_same(method: str, tmp_path: Path) -> None:
    whole = asked(tmp_path, method, "whole")
    train(whole)
    train(asked(tmp_path, method, "parts", stop=2))
    train(asked(tmp_path, method, "parts", workers=1))
    for name in ("model.safetensors", "state.safetensors"):
        resumed, expected = (load_file(tmp_path / out / name) for out in ("parts", "whole"))
        assert resumed.keys() == expected.keys()
        assert all(torch.equal(resumed[key], expected[key]) for key in expected), name


@pytest.mark.parametrize("method", SMALL)
def test_two_processes_make_the_gradient_of_one(method: str, tmp_path: Path) -> None:
    """The mean of the gradients of each rank's share of a batch, as DDP takes it."""
    run = TrainingState(asked(tmp_path, method, batch=4), fabric())
    run.loss.eval()
    gradients = []
    for ranks in (1, 2):
        run.optimiser.zero_grad()
        for rank in range(ranks):
            batch = next(iter(batches(run.task.samples, run.recipe, 0, rank, ranks)))
            (run.task.loss(batch, 0)["loss"] / ranks).backward()
        gradients.append({n: p.grad.clone() for n, p in run.model.named_parameters() if p.grad is not None})
    one, two = gradients
    assert one.keys() == two.keys()
    length = float(torch.cat([gradient.flatten() for gradient in one.values()]).norm())
    assert length > 0
    for name, gradient in one.items():
        assert float((gradient - two[name]).abs().max()) <= 1e-5 * length, name


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    file = train(asked(tmp_path, "semantic", steps=1))
    tensors, metadata = load_tensors(file)
    for broken in ("{", '{"task": "semantic"}', metadata[HEAD_KEY].replace("semantic", "singing")):
        save_tensors(tmp_path / "broken.safetensors", tensors, metadata | {HEAD_KEY: broken})
        with pytest.raises(ModelError, match=r"broken.safetensors: has an invalid config"):
            load_head_model(tmp_path / "broken.safetensors")
    other = HeadConfig.from_json(metadata[HEAD_KEY])
    assert other == load_head_model(file)[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "drawn shapes"}, "drawn shapes have no classes"),
        ({"augmentation": {"paste": 0.5}}, "a pasted object has no class"),
        ({"image_size": 100}, "image_size"),
        ({"channels": 20}, "channels"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        asked(tmp_path, "semantic", **changes)
