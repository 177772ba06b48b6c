"""`pocketsam convert`: what people have on disk becomes files that say what they are and run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from pocketsam import Segmenter
from pocketsam.cli.app import app
from pocketsam.graphs import CONFIG_FILE, ONNX_FILES
from pocketsam.models.architectures import build


def pocketsam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """An EfficientSAM as it is published, at the size of its published file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "efficient_sam_vitt.pt"
    torch.save({"model": build("efficient_sam_ti", 1024).state_dict()}, path)
    return path


def test_a_published_file_becomes_safetensors_that_say_what_they_are(checkpoint, tmp_path):
    done = pocketsam("convert", checkpoint, "-o", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert "efficient_sam_ti, 10.2 M parameters, 1024 × 1024 pixels" in done.output
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        config = json.loads(file.metadata()["pocketsam"])
    assert config["name"] == config["architecture"] == "efficient_sam_ti"
    assert config["licence"] == "Apache-2.0"
    assert (config["resize"], config["resampling"]) == ("squash", "plain")
    assert len(config["weights"]) == 64


def test_both_forms_at_once_and_both_run(tmp_path, samples):
    torch.manual_seed(0)
    torch.save(build("patches", 64).state_dict(), tmp_path / "mine.pth")
    done = pocketsam(
        "convert", tmp_path / "mine.pth", "-o", tmp_path / "m", "--to", "onnx", "--to", "safetensors"
    )
    assert done.exit_code == 0, done.output
    assert {file.name for file in (tmp_path / "m").iterdir()} == {
        *ONNX_FILES,
        CONFIG_FILE,
        "model.safetensors",
    }
    answers = [
        Segmenter(tmp_path / "m", engine=engine).open(samples / "cap.jpg").segment(points=(200, 200)).logits
        for engine in ("onnx", "torch")
    ]
    assert abs(answers[0] - answers[1]).max() <= 1e-3 * answers[1].std()


def test_without_an_output_the_folder_is_named_after_the_model(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pocketsam("convert", checkpoint).exit_code == 0
    assert Path("efficient_sam_ti/model.safetensors").exists()


def test_what_the_weights_cannot_tell_can_be_said(tmp_path):
    torch.save(build("pocket", 64).state_dict(), tmp_path / "weights.bin")
    done = pocketsam("convert", tmp_path / "weights.bin", "--as", "pocket", "-o", tmp_path / "m")
    assert done.exit_code == 0, done.output
    with safe_open(tmp_path / "m" / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["pocketsam"])["click_masks"] == [0, 1, 2, 3]


def test_a_model_can_be_told_what_everything_mode_asks_of_its_masks(checkpoint, tmp_path):
    thresholds = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.5, "confident_logit": 2.0}
    thresholds |= {"points_per_side": 16, "min_mask_region_cells": 4}
    options = [text for name, t in thresholds.items() for text in ("--set", f"{name}={t}")]
    done = pocketsam("convert", checkpoint, "-o", tmp_path / "m", *options)
    assert done.exit_code == 0, done.output
    with safe_open(tmp_path / "m" / "model.safetensors", "pt") as file:
        assert thresholds.items() <= json.loads(file.metadata()["pocketsam"]).items()


def test_half_halves(checkpoint, tmp_path):
    for name, options in (("full", ()), ("half", ("--half",))):
        assert (
            pocketsam("convert", checkpoint, "-o", tmp_path / f"{name}.safetensors", *options).exit_code == 0
        )
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.52 * sizes[1]


def test_half_precision_files_of_both_forms_are_of_one_model(tmp_path):
    torch.save(build("patches", 64).state_dict(), tmp_path / "x.pt")
    done = pocketsam(
        "convert", tmp_path / "x.pt", "-o", tmp_path / "m", "--half", "--to", "onnx", "--to", "safetensors"
    )
    assert done.exit_code == 0, done.output
    found = {Segmenter(tmp_path / "m", engine=e).engine.config.weights for e in ("onnx", "torch")}
    assert len(found) == 1


def test_a_state_dict_is_as_it_came(checkpoint, tmp_path):
    """Of EfficientSAM the published names and, around them, the published "model"."""
    own = build("patches", 64).state_dict()
    torch.save(own, tmp_path / "mine.pth")
    for source, name in ((tmp_path / "mine.pth", "mine"), (checkpoint, "efficient_sam_ti")):
        done = pocketsam("convert", source, "-o", tmp_path, "--to", "pt")
        assert done.exit_code == 0, done.output
        written = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert written.keys() == (own.keys() if name == "mine" else {"model"})
    assert "image_encoder.blocks.0.mlp.fc1.weight" in written["model"]


def test_a_folder_never_holds_two_models(tmp_path):
    torch.save(build("patches", 64).state_dict(), tmp_path / "x.pt")
    for words in (("--to", "onnx"), ()):
        done = pocketsam("convert", tmp_path / "x.pt", "-o", tmp_path / "m", *words)
    assert done.exit_code == 2
    assert "encoder.onnx: may be of another model; delete it, add --to onnx" in done.stderr
    assert not (tmp_path / "m" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("nowhere.pt",), "there is no model 'nowhere.pt'"),
        (("{checkpoint}", "--as", "sam_vit_b"), "is efficient_sam_ti, not sam_vit_b"),
        (("{checkpoint}", "--as", "sam_vit_x"), "no published model has this name"),
        (
            ("{checkpoint}", "--set", "image_size=64"),
            "--set image_size=64: give NAME=VALUE, with one of the names",
        ),
        (("{checkpoint}", "--set", "pred_iou_thresh"), "--set pred_iou_thresh: '' is not a number"),
        (("{checkpoint}", "--set", "pred_iou_thresh=high"), "pred_iou_thresh=high: 'high' is not a number"),
        (("{checkpoint}", "--set", "pred_iou_thresh=5"), "--set: pred_iou_thresh is 5, not from 0 to 1"),
        (("{checkpoint}", "--set", "confident_logit=NaN"), "--set: confident_logit is nan, no number"),
        (("{checkpoint}", "--set", "points_per_side=0"), "--set: points_per_side is 0, not from 1 to 1024"),
        (("{checkpoint}", "--to", "onnx", "-o", "{folder}/x.safetensors"), "is one file, and ONNX files are"),
        (("{checkpoint}", "--to", "pt", "-o", "{folder}/x.safetensors"), "cannot hold a .pt file"),
        (("{checkpoint}", "--to", "pt", "-o", "{folder}/text.safetensors/x"), "cannot be written"),
        (("pocket",), "holds no weights to convert"),
        (("{folder}/truncated.pth",), "truncated.pth: is damaged"),
        (("{folder}/text.safetensors",), "text.safetensors: is damaged"),
        (("{checkpoint}", "-o", "{folder}/text.safetensors/x"), "cannot be written"),
        (("{checkpoint}", "--to", "onnx", "-o", "{folder}/text.safetensors/x"), "cannot be written"),
    ],
)
def test_bad_input_gets_one_line(words, complaint, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("pocketsam.engines.source.runs_from_checkout", lambda: False)  # as installed
    (tmp_path / "truncated.pth").write_bytes(checkpoint.read_bytes()[:1_000_000])
    (tmp_path / "text.safetensors").write_text("not weights")
    done = pocketsam("convert", *(word.format(checkpoint=checkpoint, folder=tmp_path) for word in words))
    assert done.exit_code == 2, done.output
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
