"""The folder of a result, and the pictures in it."""

import csv
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pocketsam.data.sa1b import Shards
from pocketsam.evaluation.output import left_out, settings, write_masks, write_report
from pocketsam.evaluation.pictures import worst_cases
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.results import Curves, PhotoResult, Report, Row, Table, mean_report
from pocketsam.evaluation.session import run
from shards import blocks, write_shard

SIZE = 64, 64
TABLE = Table("mean IoU, %", ["source", "box"], [["a", "50.0"], ["all", "50.0"]], total=True)
CURVES = Curves("clicks", "clicks", "mean IoU", {"model": [(1, 20), (2, 40)]})


def result(scores, name="photo", **more):
    truth = {"size": [4, 5], "counts": "0:"}
    rows = [Row(i, 10, {"box": score, "click": None}, truth=truth) for i, score in enumerate(scores)]
    return PhotoResult(0, name, rows=rows, **more)


def test_report_is_written_for_programs_and_for_people(tmp_path):
    report = Report({"mean": 0.5}, [TABLE], [CURVES], {"more.json": b"[]"})
    names = write_report(tmp_path / "new", report, {"seed": 3})
    assert sorted(names) == sorted(file.name for file in (tmp_path / "new").iterdir())
    document = json.loads((tmp_path / "new/result.json").read_text())
    assert (document["seed"], document["result"]["mean"]) == (3, 0.5)
    assert document["curves"][0]["lines"]["model"] == [[1, 20], [2, 40]]
    assert "| a | 50.0 |" in (tmp_path / "new/result.md").read_text()
    assert Image.open(tmp_path / "new/curves.png").width > 300


def test_without_matplotlib_only_the_curves_are_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "curves.png" not in write_report(tmp_path, Report({}, [TABLE], [CURVES]), {})


def test_masks_are_listed_and_the_worst_are_drawn(tmp_path, empty):
    shard = write_shard(tmp_path / "s.tar", {"a": blocks((2, 3, 20, 30), (40, 40, 60, 60), size=SIZE)})
    dataset = Shards(shard)
    results = run(Clicks(), dataset, lambda: empty)
    assert write_masks(tmp_path, results, dataset, "box", worst=24) == ["masks.csv", "worst.jpg"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "masks.csv").read_text())))
    assert [(row["photo"], row["mask"], float(row["box"])) for row in rows] == [
        ("a", "0", 0.0),
        ("a", "1", 0.0),
    ]
    assert json.loads(rows[0]["prompt"])["box"] == [2, 3, 20, 30]
    picture = np.asarray(Image.open(tmp_path / "worst.jpg").convert("RGB")).astype(int)
    blue, orange = picture[..., 2] - picture[..., 0] > 100, picture[..., 0] - picture[..., 2] > 100
    assert blue.sum() > 1000, "the true masks"
    assert orange.sum() > 100, "the boxes; the answers are empty"


def test_worst_come_first_and_what_was_not_asked_does_not_count():
    results = [result([0.5, 0.1], "a"), result([0.3, None], "b")]
    assert [(case.photo.name, case.score) for case in worst_cases(results, "box", 2)] == [
        ("a", 0.1),
        ("b", 0.3),
    ]
    assert worst_cases(results, "click", 5) == []


def test_means_ignore_what_was_not_asked():
    numbers, table = mean_report([result([0.5, None, 0.1])], ["box", "click"])
    assert numbers["mean_iou"] == {"box": pytest.approx(0.3), "click": None}
    assert table.lines == [["all", "1", "3", "30.0", "–"]]


def test_all_that_was_left_out_is_told():
    told = left_out(
        [result([], left_out=["annotation 3 has no pixels"]), PhotoResult(1, "b", missing="b: is gone")]
    )
    assert told == {"photos_missing": 1, "left_out": ["annotation 3 has no pixels", "b: is gone"]}


def test_brackets_are_shown_as_they_are():
    table = Table(
        "counting needs torch: pip install 'pocketsam[export]'", ["photo", "box"], [["a[1].jpg", "50.0"]]
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(table.rich())
    assert "'pocketsam[export]'" in console.file.getvalue()
    assert "a[1].jpg" in console.file.getvalue()


def test_settings_are_what_json_can_hold():
    assert json.loads(json.dumps(settings(Clicks((1, 2), seed=4)))) == {
        "clicks": [1, 2],
        "seed": 4,
        "without_source": [],
        "refine": False,
        "zoom": False,
    }
