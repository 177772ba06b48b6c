"""Classification: what is learned, and what the figures say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pocketsam.config import HeadConfig
from pocketsam.data.class_folders import ClassFolders
from pocketsam.errors import InputError, ModelError
from pocketsam.evaluation.job import Run, evaluate
from pocketsam.evaluation.protocols.classification import Classification as Protocol
from pocketsam.models.architectures import ARCHITECTURES, build
from pocketsam.models.checkpoints import load_model, save_model
from pocketsam.models.heads.base import build_head_model, load_head_model
from pocketsam.models.layers import Normalise
from pocketsam.training.groups import parameter_groups
from pocketsam.training.loop import train
from pocketsam.training.losses.classification import Classification
from pocketsam.training.samples.augment import Augmentation
from pocketsam.training.samples.classes import ClassificationSamples, random_crop
from pocketsam.training.state import TrainingState
from shards import jpeg, write_tar
from transfer import class_tar, fabric, recipe


def test_a_tiny_set_is_learned_and_measured_again_from_the_file(tmp_path: Path) -> None:
    tar = class_tar(tmp_path)
    asked = recipe(tmp_path, "classification", train=[str(tar)], val=[str(tar)], steps=40, learning_rate=3e-3)
    file = train(asked)
    log = [json.loads(line) for line in (asked.folder / "log.jsonl").read_text().splitlines()]
    scores = {name: log[-1][f"val/{name}"] for name in ("top-1", "top-5")}
    assert scores["top-1"] >= 0.9
    outcome = evaluate(Protocol, {}, Run(model=str(file), output=tmp_path / "result", workers=0), [tar])
    assert outcome.report.numbers == {"photos": 12, "accuracy": scores}
    model, head, config = load_head_model(file)
    assert (head.task, head.architecture, head.classes) == (
        "classification",
        "patches",
        ("blue", "green", "red"),
    )
    assert (config.image_size, config.licence) == (64, "CC0-1.0")
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_the_files_say_what_they_are(tmp_path: Path) -> None:
    tar = class_tar(tmp_path)
    file = train(recipe(tmp_path, "classification", train=[str(tar)], steps=1))
    with pytest.raises(ModelError):
        load_model(file)
    sam = tmp_path / "sam.safetensors"
    save_model(sam, build("patches", 64).state_dict(), ARCHITECTURES["patches"].config)
    with pytest.raises(ModelError, match="has no head for another task than segment anything"):
        load_head_model(sam)
    with pytest.raises(InputError, match="the class blue is none of the 1 classes of the model"):
        one = write_tar(tmp_path / "one.tar", [("x/a.jpg", jpeg(np.zeros((9, 9, 3), np.uint8)))])
        other = train(recipe(tmp_path, "classification", "other", train=[str(one)], steps=1))
        evaluate(Protocol, {}, Run(model=str(other), output=tmp_path / "r", workers=0), [tar])


def test_the_encoder_starts_from_any_file_of_its_kind(tmp_path: Path) -> None:
    tar, sam = class_tar(tmp_path), tmp_path / "sam.safetensors"
    weights = build("patches", 64).state_dict()
    save_model(sam, weights, ARCHITECTURES["patches"].config)
    asked = recipe(tmp_path, "classification", train=[str(tar)], init=str(sam), steps=1)
    start = TrainingState(asked, fabric()).model.state_dict()
    kept = [name for name in weights if name.startswith("image_encoder.") and ".neck." not in name]
    assert all(torch.equal(start[name], weights[name]) for name in kept)
    first = train(asked)
    again = recipe(tmp_path, "classification", "again", train=[str(tar)], init=str(first), steps=1)
    assert torch.equal(
        TrainingState(again, fabric()).model.state_dict()[kept[0]],
        load_head_model(first)[0].state_dict()[kept[0]],
    )
    other = recipe(tmp_path, "classification", "other", model="vit_tiny", train=[str(tar)], init=str(sam))
    with pytest.raises(ModelError, match="does not fit this architecture"):
        TrainingState(other, fabric())


def test_a_linear_probe_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    tar = class_tar(tmp_path)
    asked = recipe(tmp_path, "classification", model="pocket", train=[str(tar)], linear_probe=True, steps=2)
    before = TrainingState(asked, fabric()).model.state_dict()
    after = load_head_model(train(asked))[0].state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head"}


def test_the_loss_is_that_of_the_mixed_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_head_model(HeadConfig("classification", "patches", tuple("abc")), 64)
    loss = Classification(model, Normalise((0.0,) * 3, (1.0,) * 3), smoothing=0.1)
    batch = {
        "image": torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8),
        "labels": torch.tensor([[0, 2], [1, 1]]),
        "share": torch.tensor([0.7, 1.0]),
    }
    targets = torch.tensor([[0.7, 0.0, 0.3], [0.0, 1.0, 0.0]]) * 0.9 + 0.1 / 3
    expected = -(targets * F.log_softmax(model(batch["image"].float()), dim=1)).sum(1).mean()
    torch.testing.assert_close(loss(batch, 0)["loss"], expected)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0)])
def test_an_image_is_mixed_as_its_share_says(mixup: float, cutmix: float, tmp_path: Path) -> None:
    """Black and white photos: the mean grey is the share of the white one."""
    files = [
        (f"{name}/0.png.jpg", jpeg(np.full((32, 32, 3), value, np.uint8)))
        for name, value in (("b", 0), ("w", 255))
    ]
    data = ClassFolders([write_tar(tmp_path / "s.tar", files)])
    samples = ClassificationSamples(data, 0, 64, "squash", Augmentation(colour=0, paste=0), mixup, cutmix)
    shares = []
    for number in range(20):
        item = samples[number]
        white = (item["share"] * (item["labels"][0] == 1)) + (1 - item["share"]) * (item["labels"][1] == 1)
        assert float(item["image"].float().mean()) == pytest.approx(255 * float(white), abs=1)
        shares.append(float(item["share"]))
        assert torch.equal(samples[number]["image"], item["image"])
    assert min(shares) < 0.5 < max(shares)


def test_crops_lie_in_the_photo_and_have_the_sizes_asked_for() -> None:
    rng = np.random.default_rng(0)
    how = Augmentation(min_crop=0.5, whole=0)
    for _ in range(200):
        x0, y0, x1, y1 = random_crop(60, 80, how, rng)
        assert 0 <= x0 < x1 <= 80 and 0 <= y0 < y1 <= 60
        assert (x1 - x0) * (y1 - y0) >= 0.24 * 60 * 80


def test_each_block_learns_slower_than_the_next_one(tmp_path: Path) -> None:
    asked = recipe(
        tmp_path, "classification", model="vit_tiny", train=["x"], layer_decay=0.5, encoder_rate=0.8
    )
    model = build_head_model(HeadConfig("classification", "vit_tiny", tuple("ab")), 64)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[p]: group["rate"] for group in parameter_groups(model, asked) for p in group["params"]}  # type: ignore
    assert rates["head.linear.weight"] == 1
    assert rates["image_encoder.blocks.11.norm1.weight"] == pytest.approx(0.8 * 0.5)
    assert rates["image_encoder.blocks.0.norm1.weight"] == pytest.approx(0.8 * 0.5**12)
    assert rates["image_encoder.patch_embed.proj.weight"] == rates["image_encoder.pos_embed"]
    assert rates["image_encoder.pos_embed"] == pytest.approx(0.8 * 0.5**13)
    assert set(rates) == set(names.values())
