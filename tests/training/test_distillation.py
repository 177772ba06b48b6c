"""The ways to distil: what learns and what stands still, from what, and on however many processes."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from pocketsam.config import EFFICIENT_SAM, ModelConfig
from pocketsam.embeddings.job import embed
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import DataError, InputError, ModelError
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import load_model, save_model
from pocketsam.models.sam import Sam
from pocketsam.training.config import Recipe, Stages
from pocketsam.training.loop import train
from pocketsam.training.losses.full_stage import FullStage
from pocketsam.training.recipe import parse_recipe
from pocketsam.training.samples.stream import batches
from pocketsam.training.state import Diverged, TrainingState
from pocketsam.training.tasks import build_task
from pocketsam.training.teacher import Teacher, resample
from runs import assert_near, kind_of, refusal, state_after
from shards import annotation_file, blocks, jpeg, write_shard, write_tar

METHODS = {
    "coupled": {},
    "semi-coupled": {},
    "coupled by the teacher's masks": {"method": "coupled", "masks": "teacher"},
    "semi-coupled by the teacher's masks": {"method": "semi-coupled", "masks": "teacher"},
    "decoupled": {},
    "full-stage": {},
}
LEARNS = {
    "coupled": ("image_encoder", "prompt_encoder", "mask_decoder"),
    "semi-coupled": ("image_encoder",),
    "decoupled": ("image_encoder",),
    "full-stage": ("image_encoder", "mask_decoder"),
}
MASKS = blocks((2, 2, 28, 28), (32, 5, 56, 36), (10, 20, 50, 39))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path / "photos.tar", {name: MASKS for name in "abcdef"})


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return make_teacher(tmp_path / "teacher", seed=1)


def make_teacher(folder: Path, seed: int, size: int = 128, resize: str = "pad") -> Path:
    """A model of random weights, at twice the student's size."""
    torch.manual_seed(seed)
    config = ModelConfig(folder.name, size, resize, click_masks=(0, 1, 2, 3))  # type: ignore[arg-type]
    path = folder / "model.safetensors"
    save_model(path, build("patches", size).state_dict(), config)
    return path


def make_store(teacher: Path, shard: Path, bits: int = 16) -> Path:
    store = shard.with_name("store")
    embed(TorchEngine(*load_model(teacher)), shard, store, bits)
    return store


def recipe(shard: Path, teacher: Path, out: str = "run", **changes: object) -> Recipe:
    values: dict[str, object] = {
        "model": "patches",
        "image_size": 64,
        "out": str(shard.with_name(out)),
        "method": "decoupled",
        "teacher": str(teacher),
        "train": [str(shard)],
        "steps": 4,
        "batch": 2,
        "warmup": 0,
        "workers": 0,
        "precision": "32-true",
        "checkpoint_every": 100,
    }
    values |= changes
    if values["method"] != "decoupled":
        values = {"objects": 3} | values
    return parse_recipe(values)


def fabric(precision: str = "32-true") -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]


def some_batches(run: TrainingState, count: int) -> list[dict[str, Tensor]]:
    loader = batches(run.task.samples, run.recipe, 0)
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_teaches_what_it_names_and_nothing_else(
    name: str, precision: str, shard: Path, teacher: Path
) -> None:
    changes = {"method": name} | METHODS[name]
    rounds = {"rounds": 2} if "coupled" in changes["method"] and changes["method"] != "decoupled" else {}
    run = TrainingState(recipe(shard, teacher, **changes, **rounds), fabric(precision))
    before = {key: value.clone() for key, value in run.task.loss.state_dict().items()}
    decoder = load_model(teacher)[0].mask_decoder.state_dict()
    assert all(torch.equal(before[f"sam.mask_decoder.{key}"], value) for key, value in decoder.items())
    for batch in some_batches(run, 3):
        run.train_step([batch])
    changed = {
        key for key, value in run.task.loss.state_dict().items() if not torch.equal(before[key], value)
    }
    # A mask that is never the best of three learns nothing from masks; the teacher's own teach all four.
    idle = () if name == "full-stage" else ("output_hypernetworks_mlps",)
    for key in before:
        part = key.split(".")[1]
        if key.startswith("teacher.") or part not in LEARNS[changes["method"]]:
            assert key not in changed, key
        elif part != "prompt_encoder" and not any(one in key for one in idle):
            assert key in changed, key


def test_stored_embeddings_teach_as_the_teacher_in_the_loop(shard: Path, teacher: Path) -> None:
    store = make_store(teacher, shard)
    for method in ("decoupled", "full-stage"):
        learned = []
        for out, changes in {"loop": {}, "stored": {"embeddings": str(store)}}.items():
            run = TrainingState(recipe(shard, teacher, out, method=method, **changes), fabric())
            learned.append([float(run.train_step([batch])["loss"]) for batch in some_batches(run, 3)])
        # Half precision, and a photo of 60 × 40 is enlarged by two ways of interpolating.
        assert learned[0] == pytest.approx(learned[1], rel=2e-2)


def test_embeddings_of_8_bits_teach_nearly_the_same(shard: Path, teacher: Path) -> None:
    store = make_store(teacher, shard, bits=8)
    run = TrainingState(recipe(shard, teacher, embeddings=str(store)), fabric())
    plain = TrainingState(recipe(shard, teacher), fabric())
    for batch, other in zip(some_batches(run, 2), some_batches(plain, 2), strict=True):
        assert float(run.train_step([batch])["loss"]) == pytest.approx(
            float(plain.train_step([other])["loss"]), rel=2e-2
        )


def test_distillation_brings_the_student_nearer(shard: Path, teacher: Path) -> None:
    for method in ("decoupled", "full-stage"):
        changes = {"method": method, "steps": 40, "learning_rate": 3e-3}
        changes |= {"stages": {"hard_prompts": 1}} if method == "full-stage" else {}
        run = TrainingState(recipe(shard, teacher, **changes), fabric())
        (batch,) = some_batches(run, 1)
        name = "loss" if method == "decoupled" else "embedding_loss"
        found = [float(run.train_step([batch])[name]) for _ in range(40)]
        assert found[-1] < 0.7 * found[0]


def test_a_gradient_that_is_no_number_stops_before_it_does_harm(shard: Path, teacher: Path) -> None:
    run = TrainingState(recipe(shard, teacher), fabric())
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    next(run.model.image_encoder.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    (batch,) = some_batches(run, 1)
    with pytest.raises(
        Diverged, match=r"step 0: the gradient is no number, on .*photos\.tar: .*last good state"
    ):
        run.train_step([batch])
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_counting_operations_leaves_no_trace(shard: Path, teacher: Path) -> None:
    run = TrainingState(recipe(shard, teacher, model="tiny_vit_1m", method="coupled"), fabric())
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    (batch,) = some_batches(run, 1)
    assert run.operations(batch) > 1e7
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert all(parameter.grad is None for parameter in run.model.parameters())


def test_each_stage_can_be_left_out(shard: Path, teacher: Path) -> None:
    run = TrainingState(recipe(shard, teacher, method="full-stage"), fabric())
    method = run.task.loss
    assert isinstance(method, FullStage)
    (batch,) = some_batches(run, 1)
    parts = {"embedding": ["embedding_loss"], "tokens": ["token_loss"], "masks": ["output_loss"]}
    parts["ground_truth"] = ["mask_loss", "iou_loss"]
    for kept, names in parts.items():
        method.stages = Stages(**(dict.fromkeys(parts, 0.0) | {kept: 2.0}))
        losses = method(batch, 0)
        expected = 2 * sum(float(losses[name]) for name in names)
        assert float(losses["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    method.stages = Stages(hard_masks=False)
    plain = float(method(batch, 0)["output_loss"])
    method.stages = Stages()
    assert float(method(batch, 0)["output_loss"]) != plain


def test_hard_prompts_fall_where_the_student_missed(
    shard: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainingState(recipe(shard, teacher, method="full-stage", stages={"hard_prompts": 9}), fabric())
    method = run.task.loss
    assert isinstance(method, FullStage)
    inside = torch.zeros(2, 3, 16, 16, dtype=torch.bool)
    inside[..., 2:14, 2:14] = True
    found = torch.full((2, 3, 4, 16, 16), -1.0)
    found[..., :8] = 1.0  # the left half is answered, whatever is asked
    monkeypatch.setattr(Sam, "decode", lambda *_: (found, torch.ones(2, 3, 4)))
    batch = {"seed": torch.tensor([3, 4]), "boxes": torch.tensor([8.0, 8.0, 56.0, 56.0]).expand(2, 3, 4)}
    clicks = []
    for step in range(60):
        points, labels = method._prompts(torch.zeros(2, 256, 4, 4), inside, batch, step)
        clicks.append(points[labels[..., 1] < 0][:, 0])
    x = torch.cat(clicks)[:, 0]
    assert x.min() >= 8 - 0.5 and x.max() < 56, "inside the mask"
    assert 0 < (x < 31.5).float().mean() < 0.2, (
        "a tenth of the rounds is the first, which may fall on the left"
    )
    method.stages = Stages(hard_prompts=0)
    points, labels = method._prompts(torch.zeros(2, 256, 4, 4), inside, batch, 1)
    assert set(labels[..., 1].flatten().tolist()) <= {-1, 3}


@pytest.mark.parametrize("bits", [16, 8])
def test_stopped_and_resumed_is_bitwise_the_same(bits: int, shard: Path, teacher: Path) -> None:
    stored = {"method": "full-stage", "embeddings": str(make_store(teacher, shard, bits)), "workers": 1}
    whole = load_file(train(recipe(shard, teacher, "whole", **stored)))
    train(recipe(shard, teacher, "stopped", **stored, stop=2))
    resumed = load_file(train(recipe(shard, teacher, "stopped", **stored)))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_batch_in_parts_is_the_same_step(shard: Path, teacher: Path) -> None:
    moments = []
    for parts in (1, 2):
        changes = {"method": "full-stage", "batch": 4, "accumulate": parts, "steps": 1}
        train(recipe(shard, teacher, f"in-{parts}", **changes))
        moments.append(kind_of(load_file(shard.with_name(f"in-{parts}") / "state.safetensors"), ".exp_avg"))
    assert_near(*moments)


@pytest.mark.parametrize(("model", "method"), [("tiny_vit_1m", "decoupled"), ("patches", "full-stage")])
def test_two_processes_make_the_step_of_one(model: str, method: str, tmp_path: Path, teacher: Path) -> None:
    """Gradients and batch statistics, of a step with the same photos."""
    rng = np.random.default_rng(0)  # flat photos have channels without variance, which magnify every rounding
    photos = [(name, jpeg(rng.integers(0, 255, (40, 60, 3), np.uint8))) for name in "abcd"]
    files = [[(f"{n}.jpg", photo), (f"{n}.json", annotation_file(n, MASKS, ""))] for n, photo in photos]
    shard = write_tar(tmp_path / "noise.tar", [file for pair in files for file in pair])
    changes = {"model": model, "method": method, "batch": 4, "steps": 1}
    one, two = (
        state_after(recipe(shard, teacher, f"on-{n}", devices=n, **changes), processes=n) for n in (1, 2)
    )
    for kind in ("exp_avg", "running_mean", "running_var"):
        assert_near(kind_of(one, kind), kind_of(two, kind))


def test_a_teacher_answers_in_the_students_pixels_and_cells(teacher: Path) -> None:
    sam, config = load_model(teacher)
    student = build("patches", 64)
    embedding = torch.randn(1, 256, 8, 8)
    points = torch.rand(1, 2, 2, 2) * 128
    labels = torch.tensor([[[1, -1], [2, 3]]])
    expected, iou, tokens = sam.decode_with_tokens(embedding, points, labels)
    found = Teacher(sam, config, in_the_loop=True).decode(
        embedding, (points + 0.5) / 2 - 0.5, labels, student
    )
    assert found[0].shape == (1, 2, 4, 16, 16)
    torch.testing.assert_close(found[0], resample(expected, 16))
    torch.testing.assert_close(found[1], iou)
    torch.testing.assert_close(found[2], tokens)


def test_maps_are_brought_to_another_grid() -> None:
    slope = torch.arange(8.0).expand(1, 2, 8, 8)
    assert resample(slope, 8) is slope
    small = resample(slope, 4)
    torch.testing.assert_close(small[0, 0, 1, 1:3], torch.tensor([2.5, 4.5]))
    large = resample(slope, 16)
    torch.testing.assert_close(large[0, 0, 3, 4:6], torch.tensor([1.75, 2.25]))
    constant = torch.full((1, 1, 6, 6), 3.0)
    for side in (2, 4, 9):
        torch.testing.assert_close(resample(constant, side), torch.full((1, 1, side, side), 3.0))


def test_a_student_is_described_as_its_teacher(shard: Path, teacher: Path) -> None:
    sam, config = load_model(train(recipe(shard, teacher, licence="Apache-2.0")))
    asked = load_model(teacher)[1]
    assert (config.resize, config.mean) == ("pad", asked.mean)
    assert config.click_masks == (0, 1, 2, 3)
    assert (config.image_size, config.name, config.licence) == (64, "patches", "Apache-2.0")
    assert config.weights not in ("", asked.weights)
    assert sam.image_size == 64


def test_the_decoder_can_be_finetuned_after(shard: Path, teacher: Path) -> None:
    first = train(recipe(shard, teacher, "first"))
    run = TrainingState(recipe(shard, teacher, "second", method="coupled", init=str(first)), fabric())
    weights = load_file(first)
    assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())
    # ...but a frozen decoder is always the teacher's, whatever the weights to start from have.
    other = make_teacher(shard.with_name("other"), seed=5, size=64)
    run = TrainingState(recipe(shard, teacher, "third", init=str(other)), fabric())
    decoder = load_model(teacher)[0].mask_decoder.state_dict()
    assert all(
        torch.equal(run.model.mask_decoder.state_dict()[name], value) for name, value in decoder.items()
    )


@pytest.mark.parametrize("model", ["tiny_vit_1m", "tiny_vit_11m", "tiny_vit_21m", "vit_tiny", "vit_small"])
def test_any_encoder_can_be_a_student(model: str, shard: Path, teacher: Path) -> None:
    run = TrainingState(recipe(shard, teacher, model=model, batch=1), fabric())
    (batch,) = some_batches(run, 1)
    assert float(run.train_step([batch])["loss"]) > 0
    path = shard.with_name("student.safetensors")
    save_model(path, run.model.state_dict(), run.task.config)
    assert load_model(path)[0].state_dict().keys() == build(model, 64).state_dict().keys()


@pytest.mark.parametrize("name", METHODS)
def test_efficient_sam_teaches_students_of_its_kind(name: str, shard: Path, tmp_path: Path) -> None:
    path = tmp_path / "efficient" / "model.safetensors"
    save_model(path, build("efficient_sam_ti", 64).state_dict(), replace(EFFICIENT_SAM, image_size=64))
    run = TrainingState(recipe(shard, path, batch=1, **{"method": name} | METHODS[name]), fabric())
    assert run.model.variant == "efficient_sam"
    answers = (0,) if name == "full-stage" or name.startswith("coupled") else (1, 2, 3)
    assert run.task.config.prompt_masks == answers
    seen: list[int] = []
    points = run.model.prompt_encoder.points
    run.model.prompt_encoder.points = lambda p, *rest: seen.append(p.shape[2]) or points(p, *rest)  # type: ignore
    (batch,) = some_batches(run, 1)
    run.train_step([batch])
    assert set(seen) <= {EFFICIENT_SAM.pad_points_to}


def test_photos_without_masks_teach_embeddings(tmp_path: Path, teacher: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a": MASKS[:0], "b": MASKS[:0]})
    train(recipe(shard, teacher, steps=1))
    with pytest.raises(DataError, match="have no mask"):
        train(recipe(shard, teacher, "other", method="full-stage", steps=1))


def test_embeddings_of_another_teacher_or_size_are_refused(
    shard: Path, teacher: Path, tmp_path: Path
) -> None:
    store = make_store(teacher, shard)
    for other in (make_teacher(tmp_path / "second", 2), make_teacher(tmp_path / "large", 1, 256)):
        with pytest.raises(DataError) as error:
            train(recipe(shard, other, embeddings=str(store)))
        assert "teacher (weights" in str(error.value) and f"{other.parent.name} (weights" in str(error.value)
        assert "\n" not in str(error.value)


def test_photos_without_embeddings_are_named_before_anything_starts(
    shard: Path, teacher: Path, tmp_path: Path
) -> None:
    store = make_store(teacher, shard)
    more = write_shard(tmp_path / "more.tar", {"x": MASKS, "y": MASKS})
    asked = recipe(shard, teacher, embeddings=str(store), train=[str(shard), str(more)])
    with pytest.raises(
        DataError, match=r"more\.tar: x: has no embedding in .*, like 1 other.*pocketsam embed"
    ):
        build_task(asked)


def test_a_store_that_is_damaged_later_stops_the_run_by_name(shard: Path, teacher: Path) -> None:
    store = make_store(teacher, shard)
    asked = recipe(shard, teacher, embeddings=str(store))
    tar = store / "photos.tar"
    content = bytearray(tar.read_bytes())
    content[2000::4000] = bytes(255 - b for b in content[2000::4000])
    tar.write_bytes(content)
    with pytest.raises(DataError, match=r"photos\.tar: the embedding of . is damaged"):
        train(asked)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "teacher: decoupled training needs it"),
        ({"method": "supervised"}, "supervised training has no teacher"),
        ({"masks": "teacher"}, "decoupled training has no masks"),
        ({"method": "coupled", "embeddings": "x"}, "needs no embeddings"),
        ({"train": "drawn shapes"}, "a teacher needs photos"),
        ({"stages": {"mask": 1}}, r"stages: decoupled training has no stages \(full-stage training has\)"),
        ({"method": "full-stage", "stages": {"mask": 1}}, "stages: mask: full-stage training has no mask"),
        ({"model": "resnet"}, "model: "),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    sense = {"model": "patches", "method": "decoupled", "teacher": "t"}
    assert re.search(message, refusal(tmp_path, sense | changes))


def test_parts_that_do_not_divide_the_batch(shard: Path, teacher: Path) -> None:
    with pytest.raises(InputError, match="2 photos a device cannot be taken in 3 equal parts"):
        train(recipe(shard, teacher, accumulate=3))


def test_a_teacher_must_have_weights(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    with pytest.raises(ModelError, match=r"onnx: holds no model\.safetensors"):
        train(recipe(shard, tmp_path / "onnx"))
    with pytest.raises(ModelError, match="there is no model 'nobody'"):
        train(recipe(shard, Path("nobody")))
