"""`pocketsam train` and `pocketsam convert`: a recipe in, a model that runs without PyTorch out."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pocketsam.cli.app import app

RECIPE = """
model: patches
image_size: 64
out: {out}
train: drawn shapes
steps: 2
batch: 2
objects: 2
workers: 0
precision: 32-true
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(out=tmp_path / "run"))
    return path


def pocketsam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_recipe_becomes_a_model_that_segments(recipe, tmp_path):
    done = pocketsam("train", recipe)
    weights = tmp_path / "run" / "model.safetensors"
    assert done.exit_code == 0 and str(weights) in done.output
    done = pocketsam("convert", weights, "-o", tmp_path / "model", "--to", "onnx", "--half")
    assert done.exit_code == 0 and "decoder_masks.onnx" in done.output
    done = pocketsam("convert", weights, "-o", tmp_path / "half" / "model.safetensors", "--half")
    assert done.exit_code == 0
    photo = Path(__file__).parents[2] / "samples" / "cap.jpg"
    for model in ("model", "half", "run"):
        output = tmp_path / f"{model}.json"
        done = pocketsam("segment", photo, "--point", "200,200", "--model", tmp_path / model, "-o", output)
        assert done.exit_code == 0 and output.exists(), model


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("train", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("train", "{recipe}", "--set", "image_size=10"), "image_size"),
        (("train", "{recipe}", "--set", "train=[nowhere.tar]"), "nowhere.tar: no such file"),
        (("train", "{recipe}", "--set", "init=nowhere.safetensors"), "nowhere.safetensors: no such file"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(words, complaint, recipe, tmp_path):
    done = pocketsam(*(word.format(recipe=recipe, folder=tmp_path / "new") for word in words))
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert len([line for line in done.stderr.splitlines() if "Using " not in line]) == 1
