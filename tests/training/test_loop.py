"""A run's end is a function of its recipe, however often it was killed."""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pocketsam.config import ModelConfig
from pocketsam.data.coco import write_coco
from pocketsam.data.sa1b import Shards
from pocketsam.embeddings.store import Signature
from pocketsam.embeddings.writer import create_store
from pocketsam.errors import DataError, InputError, ModelError
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import load_model, save_model
from pocketsam.training.loop import train
from pocketsam.training.recipe import read_recipe
from pocketsam.training.samples.masks import MaskSamples
from pocketsam.training.samples.stream import Item
from pocketsam.training.state import Diverged, TrainingState, learning_rate
from pocketsam.training.tasks import TASKS, TaskEntry
from pocketsam.training.tasks.supervised import SupervisedRecipe
from processes import start
from shards import annotation_file, blocks, write_shard, write_tar

RECIPE = """
model: patches
image_size: 64
out: {out}
train: {train}
steps: 12
batch: 2
objects: 3
rounds: 2
warmup: 3
workers: 0
precision: 32-true
checkpoint_every: 100
validate_every: 4
"""


def write_recipe(folder: Path, name: str, train: object = "drawn shapes", **changes: object) -> Path:
    lines = [f"{key}: {json.dumps(value)}" for key, value in changes.items()]
    kept = [line for line in RECIPE.strip().splitlines() if line.split(":")[0] not in changes]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join([*kept, *lines]).format(out=folder / name, train=train))
    return path


def run(path: Path) -> Path:
    return train(read_recipe(path))


def test_killed_twice_and_resumed_is_bitwise_the_same(tmp_path: Path) -> None:
    masks = blocks((2, 2, 28, 28), (32, 5, 56, 36))
    shard = write_shard(tmp_path / "s.tar", {name: masks for name in "abcde"})
    photos = {"train": f"[{shard}]", "model": "tiny_vit_1m", "workers": 1, "checkpoint_every": 4}
    run(write_recipe(tmp_path, "whole", **photos))
    recipe = write_recipe(tmp_path, "killed", **photos)
    state = tmp_path / "killed" / "state.safetensors"
    for steps_before in (4, 8):
        process = start("train", recipe)
        until = time.monotonic() + 200
        while process.is_alive() and time.monotonic() < until and step_of(state) < steps_before:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.3))  # at a step, or between two, or while it writes
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it could be killed"
    run(recipe)
    for name in ("model.safetensors", "state.safetensors"):
        resumed, whole = (load_file(tmp_path / folder / name) for folder in ("killed", "whole"))
        assert resumed.keys() == whole.keys()
        assert all(torch.equal(resumed[key], whole[key]) for key in whole), name


def step_of(state: Path) -> int:
    if not state.exists():
        return 0
    with safe_open(state, "pt") as file:
        return int(file.metadata()["step"])


def test_a_signal_ends_a_run_between_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_file(run(write_recipe(tmp_path, "whole")))
    recipe = write_recipe(tmp_path, "stopped", checkpoint_every=100)
    train_step = TrainingState.train_step

    def interrupted(self: TrainingState, batch: Sequence[Item]) -> dict[str, torch.Tensor]:
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(recipe)
    assert step_of(tmp_path / "stopped" / "state.safetensors") == 6
    resumed = load_file(run(recipe))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_photos_train_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    masks = blocks((2, 2, 28, 28), (32, 5, 56, 36))
    shard = write_shard(tmp_path / "s.tar", {"a": masks, "b": masks})
    path = write_recipe(tmp_path, "photos", train=f"[{shard}]", val=[str(shard)], model="pocket", steps=4)
    best = run(path)
    sam, config = load_model(best)
    assert (config.name, config.image_size, config.resize) == ("pocket", 64, "squash")
    log = [json.loads(line) for line in (tmp_path / "photos" / "log.jsonl").read_text().splitlines()]
    assert any("val/box" in line for line in log)
    again = write_recipe(tmp_path, "next", init=str(best), steps=1)
    start = TrainingState(read_recipe(again, ["model=pocket"]), _fabric()).model.state_dict()
    assert all(torch.equal(start[name], t) for name, t in sam.state_dict().items())
    decoder_only = TrainingState(read_recipe(again), _fabric()).model.state_dict()
    assert torch.equal(decoder_only["mask_decoder.iou_token.weight"], start["mask_decoder.iou_token.weight"])


def test_the_best_score_of_other_photos_does_not_count(tmp_path: Path) -> None:
    masks = blocks((2, 2, 28, 28), (32, 5, 56, 36))
    shard = write_shard(tmp_path / "s.tar", {"a": masks, "b": masks})
    recipe = {"train": f"[{shard}]", "val": [str(shard)], "steps": 2, "validate_every": 1}
    run(write_recipe(tmp_path, "run", **recipe))
    best = []
    for changes in ({}, {"val_photos": 1}):
        state = TrainingState(read_recipe(write_recipe(tmp_path, "run", **recipe | changes)), _fabric())
        state.restore()
        best.append((state.step, state.best))
    assert best[0][1] >= 0
    assert best[1] == (2, -1)


def test_a_run_can_start_from_the_mean_of_several(tmp_path: Path) -> None:
    first, second = (
        run(write_recipe(tmp_path, name, seed=seed, steps=1)) for name, seed in (("a", 0), ("b", 1))
    )
    init = [str(first), str(second)]
    start = TrainingState(
        read_recipe(write_recipe(tmp_path, "mean", init=init)), _fabric()
    ).model.state_dict()
    one, other = load_file(first), load_file(second)
    for name, tensor in start.items():
        expected = (one[name] + other[name]) / 2 if tensor.is_floating_point() else one[name]
        torch.testing.assert_close(tensor, expected, msg=name)
    assert any(not torch.equal(start[name], one[name]) for name in one)


def test_weights_of_two_architectures_have_no_mean(tmp_path: Path) -> None:
    first = run(write_recipe(tmp_path, "a", steps=1))
    config = load_model(first)[1]
    save_model(tmp_path / "other.safetensors", build("vit_tiny", 64).state_dict(), config)
    init = [str(first), str(tmp_path / "other.safetensors")]
    with pytest.raises(
        ModelError, match=r"other.safetensors: is of another architecture than .*; average weights of one"
    ):
        TrainingState(read_recipe(write_recipe(tmp_path, "mean", init=init)), _fabric())


def test_a_broken_photo_is_named_in_one_line(tmp_path: Path) -> None:
    files = [("bad.jpg", b"no photo"), ("bad.json", annotation_file("bad", blocks((0, 0, 9, 9)), ""))]
    shard = write_tar(tmp_path / "s.tar", files)
    recipe = read_recipe(write_recipe(tmp_path, "broken", train=f"[{shard}]", workers=1))
    with pytest.raises(DataError, match=r"s\.tar: bad: its photo cannot be decoded") as error:
        train(recipe)
    assert "\n" not in str(error.value)


def test_photos_can_be_drawn_as_often_as_they_have_masks(tmp_path: Path) -> None:
    one, many = blocks((2, 2, 28, 28)), blocks(*[(x, 0, x + 6, 40) for x in range(0, 56, 14)])
    shard = write_shard(tmp_path / "s.tar", {"one": one, "many": many})
    recipe = read_recipe(write_recipe(tmp_path, "draw", train=f"[{shard}]", draw="masks"))
    samples = MaskSamples(recipe, "squash", 3)
    drawn = [samples.photo_of(number) for number in range(1000)]
    assert 750 < sum(drawn) < 850
    assert drawn == [MaskSamples(recipe, "squash", 3).photo_of(number) for number in range(1000)]
    evenly = MaskSamples(read_recipe(write_recipe(tmp_path, "even", train=f"[{shard}]")), "squash", 3)
    assert sum(evenly.photo_of(number) for number in range(1000)) == 500


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, "learn", steps=30, rounds=1, pixel_loss="cross-entropy"))
    training = TrainingState(recipe, _fabric())
    batch = {
        "image": torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8),
        "masks": torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
        "boxes": torch.tensor([16.0, 16.0, 48.0, 48.0]).expand(2, 3, 4),
    }
    batch["masks"][..., 4:12, 4:12] = 255
    batch["seed"] = torch.tensor([0, 1])
    losses = [float(training.train_step([batch])["loss"]) for _ in range(30)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "nan", steps=3)
    run(recipe)
    state = tmp_path / "nan" / "state.safetensors"
    before = state.read_bytes()
    training = TrainingState(read_recipe(recipe), _fabric())
    training.restore()
    with torch.no_grad():
        training.model.mask_decoder.iou_token.weight.fill_(float("nan"))
    batch = {
        "image": torch.zeros(2, 3, 64, 64, dtype=torch.uint8),
        "masks": torch.full((2, 3, 16, 16), 255, dtype=torch.uint8),
        "boxes": torch.tensor([0.0, 0.0, 64.0, 64.0]).expand(2, 3, 4),
    }
    batch |= {"seed": torch.tensor([0, 1]), "name": ["a.tar: x", "a.tar: y"]}
    with pytest.raises(Diverged, match=r"step 3: the loss is nan, on a\.tar: x, a\.tar: y; .*state"):
        training.train_step([batch])
    assert state.read_bytes() == before


def test_another_recipe_does_not_go_on_with_this_state(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "run", steps=2)
    run(recipe)
    with pytest.raises(InputError, match="learning_rate"):
        train(read_recipe(recipe, ["learning_rate=0.1"]))
    (tmp_path / "run" / "state.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match=r"state\.safetensors: is damaged"):
        run(recipe)


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    recipe = SupervisedRecipe(model="patches", out="x", train="drawn shapes", steps=100, batch=1, warmup=10)
    rates = [learning_rate(recipe, step) for step in range(101)]
    assert rates[0] == pytest.approx(recipe.learning_rate / 10)
    assert max(rates) == pytest.approx(recipe.learning_rate) == pytest.approx(rates[10])
    assert rates[100] == pytest.approx(recipe.learning_rate * recipe.final_fraction)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    line = recipe.model_copy(update={"schedule": "linear", "final_fraction": 0.0})
    assert learning_rate(line, 55) == pytest.approx(recipe.learning_rate / 2)
    assert learning_rate(line, 10) == pytest.approx(recipe.learning_rate)
    assert learning_rate(line, 100) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("image_size=100", "image_size"),
        ("stepz=1", "supervised training has no stepz; did you mean steps?"),
        ("method=distilled", "method: 'distilled' is none; choose one of supervised, "),
        ("augmentation={blur: 2}", "augmentation: blur: "),
        ("steps=none", "steps"),
        ("train=[/nowhere/*.tar]", "matches no file"),
        ("out=$NOT_SET_ANYWHERE", "environment variable"),
        ("steps", "KEY=VALUE"),
        ("steps=[1", "no YAML"),
        ("licence=2024-02-30", "no YAML"),
        ("clicks=[]", "clicks"),
        ("clicks=[0]", "clicks"),
    ],
)
def test_a_wrong_recipe_names_its_field(change: str, message: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "wrong")
    with pytest.raises(InputError, match=message) as error:
        read_recipe(recipe, [change])
    assert "\n" not in str(error.value)


def _fabric():  # type: ignore[no-untyped-def]
    from lightning_fabric import Fabric

    return Fabric(accelerator="cpu", devices=1, precision="32-true")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_process_group_loses_no_step(number: signal.Signals, tmp_path: Path) -> None:
    """As `timeout` and Ctrl-C send it: the workers that read photos get it, too."""
    masks = blocks((2, 2, 28, 28), (32, 5, 56, 36))
    shard = write_shard(tmp_path / "s.tar", {name: masks for name in "abcde"})
    changes = {"train": f"[{shard}]", "workers": 2, "steps": 100_000, "checkpoint_every": 100_000}
    recipe = write_recipe(tmp_path, "group", **changes)
    log = tmp_path / "group" / "log.jsonl"
    process = start("train", recipe, stderr=tmp_path / "said")
    until = time.monotonic() + 200
    while process.is_alive() and time.monotonic() < until and not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    os.killpg(process.pid, number)
    process.join(timeout=200)
    said = (tmp_path / "said").read_text()
    step = step_of(tmp_path / "group" / "state.safetensors")
    assert step >= 10
    lines = [line for line in said.splitlines() if line.startswith(("stopped", "Traceback", "Exception"))]
    assert lines == [f"stopped at step {step}; the same command resumes there ({tmp_path / 'group'})"]
    assert process.exitcode == 130


def test_any_layout_can_be_trained_on(tmp_path: Path) -> None:
    """COCO's JSON here, with a crowd, which is no object to learn."""
    masks = blocks((2, 2, 28, 28), (32, 5, 56, 36))
    shard = write_shard(tmp_path / "s.tar", {name: masks for name in "ab"})
    path = write_coco(Shards(shard), tmp_path / "coco")
    document = json.loads(path.read_text())
    document["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(document))
    for draw in ("photos", "masks"):
        recipe = write_recipe(
            tmp_path, f"coco-{draw}", train=f"[{path}]", val=[str(path)], draw=draw, steps=2
        )
        assert run(recipe).exists()


def test_embeddings_go_with_shards_alone(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, "drawn"))
    create_store(tmp_path / "store", Signature.of(ModelConfig("t", 64), 16))
    with pytest.raises(InputError, match="embeddings are those of shards or folders of photos"):
        MaskSamples(recipe, "squash", 3, ModelConfig("t", 64), str(tmp_path / "store"))


def test_recipes_need_no_pytorch(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "light")
    check = (
        "import sys; from pathlib import Path; from pocketsam.training.recipe import read_recipe;"
        f" read_recipe(Path({str(recipe)!r})); assert 'torch' not in sys.modules, 'it was imported'"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_a_new_method_is_a_file_and_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brightness.py").write_text(BRIGHTNESS)
    monkeypatch.syspath_prepend(tmp_path)
    config = importlib.import_module("brightness").BrightnessRecipe
    monkeypatch.setitem(TASKS, "brightness", TaskEntry("brightness", config, "brightness"))
    changes = {"method": "brightness", "strength": 2.0, "steps": 2}
    path = write_recipe(tmp_path, "new", **changes)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "rounds" not in line))
    assert run(path).exists()
    assert (tmp_path / "new" / "state.safetensors").exists()


BRIGHTNESS = """
from typing import Literal

from torch import nn

from pocketsam.training.config import Recipe
from pocketsam.training.samples.masks import MaskSamples
from pocketsam.training.student import make_student
from pocketsam.training.task import Task


class BrightnessRecipe(Recipe):
    method: Literal["brightness"]
    objects: int = 1
    strength: float


def build(recipe):
    sam, config = make_student(recipe)
    return Task(sam, config, Loss(sam, recipe.strength), MaskSamples(recipe, config.resize, recipe.objects))


class Loss(nn.Module):
    def __init__(self, sam, strength):
        super().__init__()
        self.sam, self.strength = sam, strength

    def forward(self, batch, step):
        image = batch["image"].float() / 255
        error = self.sam.encode(image).mean((1, 2, 3)) - image.mean((1, 2, 3))
        return {"loss": self.strength * error.square().mean()}
"""
