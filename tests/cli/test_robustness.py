"""`pocketsam robustness` from the command line to the folder of results."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from pocketsam.cli.app import app
from pocketsam.robustness.studies import STUDIES
from pocketsam.robustness.study import ChangeStudy
from shards import blocks, write_shard

ONNX = "--engine", "onnx"
FEW = "--levels", "1", "--prompts", "box"


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "drawn.tar", {"a": blocks((2, 3, 20, 30))})


def pocketsam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_help_lists_the_studies_and_what_each_follows() -> None:
    listed = pocketsam("robustness", "--help").stdout
    for name, study in STUDIES.items():
        assert name in listed
        words = " ".join(pocketsam("robustness", name, "--help").stdout.split())
        assert study.follows.split(" (")[0] in words
        assert ("--worst" in words) == study.shows_worst


@dataclass(frozen=True)
class Darker(ChangeStudy):
    name, summary, description, follows = "darker", "darker photos", "Makes photos darker.", "nothing"
    kinds: ClassVar[dict[str, tuple[str, ...]]] = {"light": ("half",)}

    def apply(self, sample, change, random):
        return sample.image // 2


def test_a_new_study_is_a_class_and_a_line_in_the_table(shard, tmp_path, monkeypatch) -> None:
    """Its folder has the table, the curves, the examples and all that determines them."""
    monkeypatch.setitem(STUDIES, "darker", Darker)
    folder = tmp_path / "r"
    done = pocketsam("robustness", "darker", shard, *ONNX, *FEW, "--seed", 5, "-o", folder)
    assert done.exit_code == 0, done.stderr
    assert "degradation" in done.stdout
    files = {file.name for file in folder.iterdir()}
    assert files == {"result.json", "result.md", "masks.csv", "curves.png", "examples.jpg"}
    record = read(folder)
    protocol = {"name": "darker", "follows": "nothing", "prompts": ["box"], "seed": 5, "levels": [1]}
    assert record["protocol"] == protocol
    assert record["model"]["description"]["weights"]
    assert 0 <= record["result"]["mean_iou"]["box"]["half"]["1"]["clean"] <= 1


BAD = [
    (["corruption", "{shard}"], "there is no study"),
    (["corruptions"], "pocketsam robustness corruptions DATA"),
    (["corruptions", "{shard}", "--worst", "3"], "--worst is for real-weather"),
    (["corruptions", "{shard}", "--levels", "9"], "--levels 9"),
    (["corruptions", "{shard}", "--prompts", "boxes"], "box,point,everything"),
]


@pytest.mark.parametrize(("arguments", "complaint"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_bad_input_gets_one_line_that_names_it(shard, tmp_path, monkeypatch, arguments, complaint) -> None:
    monkeypatch.chdir(tmp_path)
    done = pocketsam("robustness", *(text.format(shard=shard) for text in arguments))
    assert done.exit_code == 2
    assert done.stderr.startswith("pocketsam: ")
    assert complaint in done.stderr
    assert "\n" not in done.stderr.strip()
