"""`pocketsam evaluate` from the command line to the folder of results, with the model inside the package."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from pocketsam.cli.app import app
from pocketsam.data.coco import write_coco
from pocketsam.data.sa1b import Shards
from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.evaluation.protocols import PROTOCOLS
from pocketsam.evaluation.results import PhotoResult, Report, Row, mean_report
from pocketsam.utils.options import flag_of, option
from pocketsam.zoo import locate
from shards import blocks, write_shard

ONNX = "--engine", "onnx"  # which loads fastest
PHOTOS = {"a": blocks((2, 3, 20, 30), (5, 5, 5, 5)), "b": blocks((10, 10, 50, 30))}


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "drawn.tar", PHOTOS)


@pytest.fixture
def coco(shard, tmp_path):
    """A COCO set with a detector's results beside it: the true boxes."""
    truth = write_coco(Shards(shard), tmp_path / "coco")
    annotations = json.loads(truth.read_text())["annotations"]
    boxes = [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in annotations
    ]
    detections = truth.with_name("detections.json")
    detections.write_text(json.dumps([box for box in boxes if box["bbox"][2] > 0]))
    return truth


def pocketsam(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_prints_a_table_and_writes_all_that_determines_it(shard, tmp_path):
    output = tmp_path / "result"
    done = pocketsam("evaluate", "clicks", shard, *ONNX, "--seed", 3, "--worst", 2, "-o", output)
    assert done.exit_code == 0, done.stderr
    assert "Left out: 1" in done.stdout
    assert "annotation 1 has no pixels" in done.stdout
    assert output.name in done.stdout

    record = read(output)
    assert (record["result"]["photos"], record["result"]["masks"]) == (2, 2)
    assert len(record["left_out"]) == 1
    assert all(0 <= mean <= 1 for mean in record["result"]["mean_iou"].values())
    protocol = {
        "name": "clicks",
        "follows": "EfficientSAM (arXiv 2312.00863), Table 4",
        "clicks": [1, 3],
        "seed": 3,
        "without_source": [],
        "refine": False,
        "zoom": False,
    }
    assert record["protocol"] == protocol
    assert record["data"][0]["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()
    weights = {file["name"]: file["sha256"] for file in record["model"]["files"]}
    encoder = (locate("pocket")[0] / "encoder.onnx").read_bytes()
    assert weights["encoder.onnx"] == hashlib.sha256(encoder).hexdigest()
    assert {"pocketsam", "numpy", "onnxruntime"} <= record["versions"].keys()
    written = {"result.json", "result.md", "masks.csv", "curves.png", "worst.jpg"}
    assert {file.name for file in output.iterdir()} == written, "the journal is gone"


def test_limit_stops_early(shard, tmp_path):
    assert pocketsam("evaluate", "clicks", shard, *ONNX, "--limit", 1, "-o", tmp_path / "r").exit_code == 0
    assert read(tmp_path / "r")["photos"] == 1


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["interactive", "{shard}", "--clicks", "2"], "mean_iou"),
        (["teacher", "{shard}", "--against", "pocket"], "mean_iou"),
        (["everything", "{shard}", "--points-per-side", "4"], "AR@10"),
        (["boxes", "{coco}", "--detections", "{detections}"], "average_precision"),
    ],
)
def test_every_protocol_runs(shard, coco, tmp_path, arguments, number):
    names = {"shard": shard, "coco": coco, "detections": coco.with_name("detections.json")}
    done = pocketsam("evaluate", *(text.format(**names) for text in arguments), *ONNX, "-o", tmp_path / "r")
    assert done.exit_code == 0, done.stderr
    assert number in read(tmp_path / "r")["result"]
    assert (tmp_path / "r/masks.csv").read_text().count("\n") > 1


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    masks = blocks((2, 3, 20, 30), (30, 5, 50, 30))
    shard = write_shard(tmp_path / "many.tar", {f"photo-{i}": masks for i in range(8)})
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    arguments = ["evaluate", "clicks", str(shard), "--engine", "onnx"]
    assert pocketsam(*arguments, "-o", undisturbed).exit_code == 0

    journal = killed / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "pocketsam", *arguments, "-o", killed])
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes()

    done = pocketsam(*arguments, "-o", killed)
    assert done.exit_code == 0
    assert 1 < kept.count(b"\n") < 9
    assert (killed / "masks.csv").read_bytes() == (undisturbed / "masks.csv").read_bytes()
    assert read(killed) == read(undisturbed)


@pytest.mark.parametrize(
    "other",
    [
        ["--seed", "1"],
        ["--clicks", "1,2"],
        ["--engine", "openvino"],
        ["--precision", "bfloat16", "--engine", "torch"],
        ["--model", "{copy}"],
        ["--photos", "{photos}"],
    ],
    ids=" ".join,
)
def test_an_unfinished_run_is_not_gone_on_with_in_another_way(coco, tmp_path, monkeypatch, other):
    folder, photos = tmp_path / "r", tmp_path / "photos"
    shutil.copytree(coco.parent / "images", photos)
    (next(photos.iterdir())).write_bytes(b"another photo")
    copy = shutil.copytree(locate("pocket")[0], tmp_path / "copy")
    with (copy / "encoder.onnx").open("ab") as file:
        file.write(b"\x92\x01\x00")  # a field that ONNX does not know: the same model in another file
    arguments = ["evaluate", "clicks", coco, "--engine", "onnx", "-o", folder]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pocketsam.evaluation.job.write_report", killed)
        assert pocketsam(*arguments).exit_code == 130
    changed = [text.format(copy=copy, photos=photos) for text in other]
    done = pocketsam(*arguments, *changed)
    assert done.exit_code == 2
    assert "unfinished run of other settings" in done.stderr
    assert pocketsam(*arguments).exit_code == 0


def test_two_workers_on_the_command_line(shard, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert pocketsam("evaluate", "clicks", shard, *ONNX, "-o", one).exit_code == 0
    assert pocketsam("evaluate", "clicks", shard, *ONNX, "--workers", 2, "-o", two).exit_code == 0
    assert read(two)["workers"] == 2
    assert read(two)["result"]["mean_iou"] == pytest.approx(read(one)["result"]["mean_iou"], abs=1e-4)


def test_pictures_of_an_earlier_result_do_not_stay(shard, tmp_path):
    assert pocketsam("evaluate", "clicks", shard, *ONNX, "--worst", 1, "-o", tmp_path).exit_code == 0
    assert (tmp_path / "worst.jpg").exists()
    assert pocketsam("evaluate", "clicks", shard, *ONNX, "-o", tmp_path).exit_code == 0
    assert not (tmp_path / "worst.jpg").exists()


def test_a_result_is_not_overwritten_by_that_of_other_settings(shard, tmp_path):
    folder, copy = tmp_path / "r", shutil.copytree(locate("pocket")[0], tmp_path / "copy")
    arguments = ["evaluate", "clicks", shard, *ONNX, "-o", folder]
    assert pocketsam(*arguments).exit_code == 0
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    others = {"protocol": ["--seed", 1], "photos": ["--limit", 1], "model": ["--model", copy]}
    for named, other in others.items():
        refused = pocketsam(*arguments, *other)
        assert refused.exit_code == 2
        assert refused.stderr == (
            f"pocketsam: {folder}: holds the result of other settings ({named});"
            " choose another folder, or delete it\n"
        )
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert pocketsam(*arguments, "--batch", 1).exit_code == 0, "the batch does not change the numbers"


def test_without_a_folder_every_setting_has_one_of_its_own(shard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--seed", 1], []):
        assert pocketsam("evaluate", "clicks", shard, *ONNX, *more).exit_code == 0
    folders = sorted((tmp_path / "evaluation").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("pocket-clicks-") for folder in folders)
    assert {read(folder)["protocol"]["seed"] for folder in folders} == {0, 1}


def test_a_file_that_is_no_result_is_left_alone(shard, tmp_path):
    (tmp_path / "result.json").write_text("[]")
    refused = pocketsam("evaluate", "clicks", shard, *ONNX, "-o", tmp_path)
    assert refused.exit_code == 2
    assert "result.json: is no result" in refused.stderr
    assert (tmp_path / "result.json").read_text() == "[]"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_help_of_a_protocol_shows_the_common_options_and_its_own(name):
    own = {flag_of(option) for option in PROTOCOLS[name].options()}
    others = {flag_of(option) for other in PROTOCOLS.values() for option in other.options()} - own
    shown = pocketsam("evaluate", name, "--help").stdout
    words = set(shown.replace(",", " ").split())
    assert own | {"--model", "--engine", "--output"} <= words
    assert not others & words
    assert all(column in shown for column in PROTOCOLS[name].results)


def test_the_help_of_the_command_names_all_protocols():
    shown = pocketsam("evaluate", "--help").stdout
    assert all(f"  {name} " in shown for name in PROTOCOLS)


@dataclass(frozen=True)
class Sizes(EvaluationProtocol):
    """A protocol that needs no model: the share of the photo that each mask covers, times a factor."""

    factor: int = field(default=1, metadata=option(int, "Multiplies the share.", metavar="N"))

    name = "sizes"
    summary = description = "the share of the photo that masks cover"
    follows = "nothing"
    results: ClassVar = {"share": "in %"}
    headline = "share"

    def measure(self, segmenter, sample, photo):
        masks = zip(sample.ids, sample.rles, sample.each_mask(), strict=True)
        rows = [
            Row(number, 1, {"share": self.factor * mask.mean()}, truth=rle) for number, rle, mask in masks
        ]
        return PhotoResult(photo, sample.name, sample.source, rows)

    def summarise(self, results):
        numbers, table = mean_report(results, ["share"])
        return Report(numbers, [table])


def test_a_new_protocol_is_a_class_and_a_line_in_the_table(shard, tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "sizes", Sizes)
    assert "--factor N" in pocketsam("evaluate", "sizes", "--help").stdout
    done = pocketsam("evaluate", "sizes", shard, *ONNX, "--factor", 3, "-o", tmp_path / "r")
    assert done.exit_code == 0, done.stderr
    shares = [18 * 27 / 2400, 40 * 20 / 2400]
    assert read(tmp_path / "r")["result"]["mean_iou"]["share"] == pytest.approx(3 * np.mean(shares))
    assert read(tmp_path / "r")["protocol"] == {"name": "sizes", "follows": "nothing", "factor": 3}


def test_a_missing_photo_is_named_and_left_out_but_refused_where_its_masks_would_count_as_missed(
    coco, tmp_path
):
    next((coco.parent / "images").iterdir()).unlink()
    done = pocketsam("evaluate", "clicks", coco, *ONNX, "-o", tmp_path / "r")
    assert done.exit_code == 0
    assert read(tmp_path / "r")["photos_missing"] == 1
    detections = coco.with_name("detections.json")
    refused = pocketsam("evaluate", "boxes", coco, "--detections", detections, "-o", tmp_path / "boxes")
    assert refused.exit_code == 2
    assert "images" in refused.stderr


def test_a_run_without_masks_leaves_nothing_in_the_way_of_the_next(shard, tmp_path):
    empty = write_shard(tmp_path / "empty.tar", {"a": np.zeros((1, 40, 60), bool)})
    assert pocketsam("evaluate", "clicks", empty, *ONNX, "-o", tmp_path / "r").exit_code == 2
    assert pocketsam("evaluate", "clicks", shard, *ONNX, "-o", tmp_path / "r").exit_code == 0


BAD = [
    (["clicks", "nowhere.tar"], "nowhere.tar"),
    (["clicks", "{shard}", "--model", "pokcet"], "pocket"),
    (["clicks", "{shard}", "-o", "{shard}/result"], "drawn.tar"),
    (["clicks", "{shard}", "-o", "result.json"], "is a folder of files"),
    (["clicks", "{shard}", "--clicks", "0"], "--clicks 0"),
    (["clicks", "{shard}", "--clicks", "two"], "--clicks two"),
    (["clicks", "{empty}"], "no masks to measure on"),
    (["clicks"], "DATA"),
    (["click", "{shard}"], "use clicks"),
    (["clicks", "{shard}", "--against", "pocket"], "--against is for teacher and efficiency"),
    (["teacher", "{shard}"], "--against MODEL"),
    (["boxes", "{shard}"], "--detections"),
    (["boxes", "{shard}", "--detections", "{shard}"], "COCO or LVIS"),
    (["efficiency", "{shard}"], "without data"),
    (["efficiency", "--limit", "3"], "--limit is for"),
    (["efficiency", "--batch", "3"], "--batch is for"),
    (["clicks", "{shard}", "--sed", "3"], "no option --sed"),
    (["efficiency", "-o", "{shard}/new/result"], "drawn.tar"),
    (["interactive", "{shard}", "--clicks", "1,3"], "interactive takes the last one"),
    (["everything", "{shard}", "--points-per-side", "4", "--seed", "1"], "--seed is for"),
]


@pytest.mark.parametrize(("arguments", "complaint"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_bad_input_gets_one_line_that_names_it(shard, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    empty = write_shard(tmp_path / "empty.tar", {"a": np.zeros((1, 40, 60), bool)})
    done = pocketsam("evaluate", *(text.format(shard=shard, empty=empty) for text in arguments))
    assert done.exit_code == 2
    line = done.stderr.strip()
    assert line.startswith("pocketsam: ")
    assert complaint in line
    assert "\n" not in line
