"""What models cost: counted by hand, and measured on a small one."""

import json
import multiprocessing
from pathlib import Path

import pytest
import torch

from pocketsam import zoo
from pocketsam.config import SAM, ModelConfig
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import InputError, ModelError, PocketSAMError
from pocketsam.evaluation.protocols.efficiency import measure_efficiency
from pocketsam.evaluation.timing import BenchmarkCase, take_turns
from pocketsam.evaluation.work import count_work
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import FILE_NAME, save_model
from pocketsam.models.sam import count_parameters

SIZE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with model.safetensors alone."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    config = ModelConfig("small", SIZE, "squash")
    save_model(folder / FILE_NAME, build("patches", SIZE).state_dict(), config)
    return folder


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory) -> Path:
    """A folder with the ONNX files alone."""
    folder = tmp_path_factory.mktemp("onnx")
    loaded = TorchEngine.load(weights)
    export_onnx(loaded.sam, loaded.config, folder)
    return folder


def test_parameters_and_multiply_adds_are_those_counted_by_hand():
    sam = build("patches", SIZE)
    work = {part.module: part for part in count_work(sam, ModelConfig("small", SIZE, "squash"))}
    cells, tokens, width = 16, 5 + 2, 256  # five tokens of the decoder's own; the click, and its padding
    inner = width // 2
    looking = 2 * (tokens + cells) * width * inner + 2 * tokens * cells * inner  # one way, either way
    thinking = 4 * tokens * width * width + 2 * tokens * tokens * width + 2 * tokens * width * 2048
    macs = {
        "image_encoder": cells * width * 3 * 16 * 16,
        "prompt_encoder": 0,  # positions are told without a matrix product
        "mask_decoder.transformer": 2 * (thinking + 2 * looking) + looking,
        "mask_decoder.output_upscaling": cells * 4 * width * 64 + 4 * cells * 4 * 64 * 32,
        "mask_decoder.output_hypernetworks_mlps.3": 2 * width * width + width * 32,
        "mask_decoder.iou_prediction_head": 2 * width * width + width * 4,
        "mask_decoder itself": 4 * 32 * 16 * cells,
    }
    assert {name: work[name].macs for name in macs} == macs
    assert work["image_encoder.proj"].parameters == 768 * width + width
    assert work["prompt_encoder"].parameters == 6220
    for whole in ("image_encoder", "mask_decoder"):
        parts = [part for name, part in work.items() if name.startswith((f"{whole}.", f"{whole} "))]
        assert sum(part.parameters for part in parts) == work[whole].parameters
        assert sum(part.macs for part in parts) == work[whole].macs


def test_a_published_model_counts_as_published():
    sam = build("mobile_sam", 1024)
    parts = [part for part in count_work(sam, SAM) if "." not in part.module and " " not in part.module]
    assert [part.module for part in parts] == ["image_encoder", "prompt_encoder", "mask_decoder"]
    parameters = sum(part.parameters for part in parts)
    assert parameters == zoo.MODELS["mobile_sam"].parameters == count_parameters(sam)
    # TinySAM, Table 1: 42.0 G. Here only products count.
    assert sum(part.macs for part in parts) == pytest.approx(42.0e9, rel=0.05)


def test_callers_take_turns_until_each_has_had_its_time():
    order = []

    def caller(name, seconds):
        def call():
            order.append(name)
            return seconds

        return call

    callers = [caller("fast", 1.0), caller("slow", 3.0), caller("endless", 10.0)]
    taken = take_turns(callers, seconds=4)
    assert order == ["fast", "slow", "endless", "fast", "slow", "fast", "slow", "fast"]
    assert taken == [[1.0] * 4, [3.0] * 3, [10.0]]


def test_contenders_are_measured_side_by_side(weights, folder):
    steps = []
    report = measure_efficiency(
        [BenchmarkCase(weights, "torch", device="cpu", threads=1), BenchmarkCase(folder, "onnx")],
        seconds=0.01,
        prompts=(1, 3),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(i, 5) for i in range(1, 6)]
    numbers = json.loads(json.dumps(report.numbers))
    first, second = numbers["cases"]
    assert (first["engine"], first["device"], first["threads"]) == ("torch", "cpu", 1)
    assert (second["engine"], second["image_size"]) == ("onnx", SIZE)
    assert first["file_bytes"] == (weights / FILE_NAME).stat().st_size
    assert second["file_bytes"] == sum(file.stat().st_size for file in folder.glob("*.onnx"))
    assert first["peak_bytes"] > second["peak_bytes"] > 10e6  # PyTorch is large
    for row in (first, second):
        assert row["seconds"].keys() == {"encode", "decode 1", "decode 3"}
        spread = row["seconds"]["decode 3"]
        assert spread["calls"] >= 1
        assert 0 < spread["p10"] <= spread["median"] <= spread["p90"]
        assert row["prompts_per_second"] == 3 / spread["median"]
    ratio = first["seconds"]["encode"]["median"] / second["seconds"]["encode"]["median"]
    assert second["times_as_fast"]["encode"] == ratio
    assert numbers["work"][str(weights)]["parameters"] == 4_261_936
    sizes, times, rates, ratios, modules = report.tables
    assert sizes.lines[0][1:3] == [f"{SIZE}²", "4.26"]
    assert all(len(table.lines) == 2 for table in (sizes, times, rates, ratios))
    assert all(len(line) == len(table.headings) for table in report.tables for line in table.lines)
    assert modules.lines[-1][:2] == ["all", "4.262"]


def test_what_onnx_files_do_not_tell_is_a_dash_and_is_explained(folder):
    report = measure_efficiency([BenchmarkCase(folder, "onnx")], seconds=0.01, prompts=(1,))
    assert [table.title.split("\n")[0] for table in report.tables] == [
        "Size, and multiply-adds for one image and one click",
        "Time in ms: the median and, in brackets, the 10th and the 90th percentile",
        "Throughput, of prompts 1 at a time; memory and files",
    ]
    assert report.tables[0].lines == [[str(folder), f"{SIZE}²", "–", "–", "–"]]
    (note,) = report.numbers["notes"]
    assert note.startswith(f"{folder}: ONNX files do not tell the parameters")
    assert report.tables[0].title.endswith(note)


def test_an_error_in_a_process_reaches_the_caller(folder):
    with pytest.raises(ModelError, match="holds ONNX files, which the torch engine cannot run"):
        measure_efficiency([BenchmarkCase(folder, "torch", device="cpu")])
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_named(folder):
    def kill(done, total):
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(PocketSAMError, match=r"onnx: its process ended without a result"):
        measure_efficiency([BenchmarkCase(folder, "onnx")], progress=kill)


def test_what_makes_no_sense_is_refused_before_anything_starts():
    with pytest.raises(InputError, match="at least one model"):
        measure_efficiency([])
    with pytest.raises(InputError, match="seconds is 0; give more than 0"):
        measure_efficiency([BenchmarkCase()], seconds=0)
    with pytest.raises(InputError, match=r"prompts is \[0\]"):
        measure_efficiency([BenchmarkCase()], prompts=[0])
    with pytest.raises(ModelError, match="there is no model 'pockett'; did you mean 'pocket'"):
        measure_efficiency([BenchmarkCase("pockett")])
