"""`pocketsam evaluate` from the command line to the JSON file, with the model inside the package."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from pocketsam.cli.app import app
from pocketsam.zoo import locate
from shards import blocks, write_shard


@pytest.fixture
def shard(tmp_path):
    photos = {"a": blocks((2, 3, 20, 30), (5, 5, 5, 5)), "b": blocks((10, 10, 50, 30))}
    return write_shard(tmp_path / "drawn.tar", photos)


def pocketsam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_prints_a_table_and_writes_all_that_determines_it(shard, tmp_path):
    output = tmp_path / "result.json"
    done = pocketsam("evaluate", shard, "--seed", 3, "-o", output)
    assert done.exit_code == 0
    assert "drawn" in done.stdout
    assert "1 true mask has no pixels" in done.stdout
    assert output.name in done.stdout

    record = json.loads(output.read_text())
    assert (record["photos"], record["masks"], record["empty_masks"], record["seed"]) == (2, 2, 1, 3)
    assert all(0 <= mean <= 1 for mean in record["mean_iou"].values())
    assert record["sources"]["drawn"]["mean_iou"] == record["mean_iou"]
    assert record["data"][0]["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()
    weights = {file["name"]: file["sha256"] for file in record["model"]["files"]}
    encoder = (locate("pocket")[0] / "encoder.onnx").read_bytes()
    assert weights["encoder.onnx"] == hashlib.sha256(encoder).hexdigest()
    assert {"pocketsam", "numpy", "onnxruntime"} <= record["versions"].keys()


def test_limit_stops_early(shard, tmp_path):
    output = tmp_path / "result.json"
    assert pocketsam("evaluate", shard, "--limit", 1, "-o", output).exit_code == 0
    assert json.loads(output.read_text())["photos"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.tar"], "nowhere.tar"),
        (["{shard}", "--model", "pokcet"], "pocket"),
        (["{shard}", "-o", "{shard}/result.json"], "drawn.tar: cannot be written to"),
        (["{empty}"], "no masks"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(shard, tmp_path, arguments, complaint):
    empty = write_shard(tmp_path / "empty.tar", {"a": blocks((5, 5, 5, 5))})
    done = pocketsam("evaluate", *(text.format(shard=shard, empty=empty) for text in arguments))
    assert done.exit_code == 2
    line = done.stderr.strip()
    assert line.startswith("pocketsam: ")
    assert complaint in line
    assert "\n" not in line
