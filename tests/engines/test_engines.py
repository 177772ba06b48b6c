import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

import pocketsam.engines as engines_package
import pocketsam.export as export_package
from pocketsam.config import ModelConfig
from pocketsam.engines import open_engine, registry, source
from pocketsam.engines.base import EngineOptions
from pocketsam.errors import ModelError
from pocketsam.graphs import ONNX_FILES
from pocketsam.utils import install
from pocketsam.utils.install import how_to_install
from pocketsam.utils.options import options_of
from pocketsam.utils.running import Running
from pocketsam.zoo import locate

IMPORTING = [
    (engines_package, "openvino"),
    (engines_package, "torch"),
    (export_package, "onnx"),
    (export_package, "prepare"),
]
"""Our modules that import the packages of the extras."""
THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh", "confident_logit")
NO_NUMBERS = ("0.9", None, True, [0.9], float("nan"), float("inf"), 10**400)


def test_a_description_survives_json():
    config = ModelConfig(
        "m",
        512,
        "squash",
        (1.0, 2.0, 3.0),
        (4.0, 5.0, 6.0),
        "Apache-2.0",
        pred_iou_thresh=0.75,
        stability_score_thresh=0.5,
        confident_logit=-1.25,
    )
    assert ModelConfig.from_json(config.to_json()) == config


def test_a_description_of_an_earlier_version_asks_of_masks_what_sam_does():
    values = json.loads(ModelConfig("m", 512).to_json())
    for field in THRESHOLDS:
        del values[field]
    found = ModelConfig.from_json(json.dumps(values))
    assert [getattr(found, field) for field in THRESHOLDS] == [0.88, 0.95, 8.5]
    assert found == ModelConfig("m", 512)


def test_a_whole_number_is_a_threshold_too():
    values = json.loads(ModelConfig("m").to_json()) | dict.fromkeys(THRESHOLDS, 1)
    found = ModelConfig.from_json(json.dumps(values))
    assert [type(getattr(found, field)) for field in THRESHOLDS] == [float] * 3


def test_fields_of_later_versions_are_ignored():
    values = json.loads(ModelConfig("m").to_json()) | {"from the future": 1}
    assert ModelConfig.from_json(json.dumps(values)) == ModelConfig("m")


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "crop"},
        {"name": "../elsewhere"},
        {"name": 5},
        {"std": [0, 1, 1]},
        {"mean": [10**400, 1, 1]},
        {"pad_points_to": 10**9},
        {"takes_masks": "no"},
        {"resampling": "none"},
        {"prompt_masks": []},
        {"image_size": 100},
        {"image_size": "1024"},
        {"image_size": 10**9},
        {"mean": [1, 2]},
        {"mean": 5},
        {"std": "abc"},
        {"click_masks": [4, 5, 6]},
        {"click_masks": []},
        *({field: value} for field in THRESHOLDS for value in NO_NUMBERS),
    ],
)
def test_what_is_no_description_is_refused(change):
    with pytest.raises(ValueError):
        ModelConfig.from_json(json.dumps(json.loads(ModelConfig("m").to_json()) | change))
    for text in ("", "[]", "{}"):
        with pytest.raises(ValueError):
            ModelConfig.from_json(text)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Where ONNX files made of weights are kept."""
    monkeypatch.setenv("POCKETSAM_HOME", str(tmp_path))


@pytest.fixture
def without(monkeypatch):
    """Hides packages, as if they were not installed."""

    def hide(*packages: str) -> None:
        monkeypatch.setattr(install, "find_spec", lambda name: None if name in packages else find_spec(name))
        for package in packages:
            monkeypatch.setitem(sys.modules, package, None)
        for parent, name in IMPORTING:  # are to be imported anew
            monkeypatch.delattr(parent, name, raising=False)
            monkeypatch.delitem(sys.modules, f"{parent.__name__}.{name}", raising=False)

    return hide


@pytest.fixture
def cuda(monkeypatch):
    """As if there were an NVIDIA device that PyTorch can use."""
    monkeypatch.setattr(registry, "finds_cuda", lambda: True)


def name_of(engine) -> str:
    return type(engine).__name__


def test_auto_is_openvino_where_it_is_installed_and_else_onnx(folder, without):
    assert name_of(open_engine(folder)) == "OpenVinoEngine"
    without("openvino")
    assert name_of(open_engine(folder)) == "OnnxEngine"


def test_for_one_image_auto_counts_loading_and_so_is_onnx(folder, weights):
    assert name_of(open_engine(folder, one_image=True)) == "OnnxEngine"
    in_half = registry.resolve(folder, "auto", EngineOptions(precision="bf16"), one_image=True)[0]
    assert in_half.name == "openvino"
    assert name_of(open_engine(folder, "openvino", one_image=True)) == "OpenVinoEngine"


def test_a_new_engine_is_one_file_and_one_line(folder, tmp_path, monkeypatch):
    (tmp_path / "dummy_engine.py").write_text(
        "class Dummy:\n"
        "    def __init__(self, source, threads):\n"
        "        self.source, self.threads = source, threads\n\n"
        "def load(source, options):\n"
        "    return Dummy(source, options.threads)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = registry.EngineEntry("dummy", "json", "onnx", precisions=("int4",), module="dummy_engine")
    monkeypatch.setitem(registry.ENGINES, "dummy", entry)
    monkeypatch.setitem(registry.PRECISIONS, "int4", "int4")
    chosen = open_engine(folder, precision="int4", threads=3)
    assert (name_of(chosen), chosen.source, chosen.threads) == ("Dummy", folder, 3)
    assert name_of(open_engine(folder, "dummy", precision="int4")) == "Dummy"
    with pytest.raises(
        ModelError, match="no engine 'tpu'; use auto, dummy, fake-quant, onnx, openvino or torch"
    ):
        open_engine(folder, "tpu")


def test_the_command_line_names_every_engine():
    *others, last = sorted(registry.ENGINES)
    assert options_of(Running)["engine"].help.startswith(f"auto, {', '.join(others)} or {last};")


def test_every_engine_says_how_it_runs(engines):
    for name, engine in engines.items():
        info = engine.info
        assert (info.name, info.device, info.numerics, info.threads) == (name, "cpu", "float32", 2)
        assert info.batch >= 1


def test_the_packaged_model_runs_in_pytorch_from_a_checkout(monkeypatch):
    """Its weights lie in the repository; the installed package has its ONNX files alone."""
    packaged, _ = locate("pocket")
    assert source.weights_file(packaged) == install.CHECKOUT / "checkpoints" / "pocket" / "model.safetensors"
    monkeypatch.setattr(source, "runs_from_checkout", lambda: False)
    assert source.weights_file(packaged) is None
    for options in ({"engine": "torch"}, {"device": "cuda"}):
        with pytest.raises(ModelError) as error:
            open_engine(packaged, **options)
        assert str(error.value) == (
            "the torch engine needs weights, and the installed package holds pocket as ONNX files only, which onnx"
            " and openvino run on the CPU; run it from a checkout of the repository, whose checkpoints/pocket holds"
            " them, or give the path of that folder as the model"
        )


def test_auto_is_pytorch_where_there_is_a_cuda_device_and_weights_for_it(folder, weights, cuda):
    assert name_of(open_engine(weights)) == "TorchEngine"
    assert name_of(open_engine(folder)) == "OpenVinoEngine"
    assert name_of(open_engine(weights / "model.safetensors", precision="bf16")) == "TorchEngine"


def test_weights_become_onnx_files_once(weights, tmp_path):
    first = open_engine(weights, "onnx")
    assert name_of(first) == "OnnxEngine"
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "onnx").rglob("*.onnx")}
    assert {file.name for file in made} == set(ONNX_FILES)
    assert open_engine(weights / "model.safetensors", "openvino").config == first.config
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "onnx").rglob("*.onnx")} == made


def test_weights_that_nothing_can_convert_are_run_by_pytorch(weights, without):
    without("onnx")
    assert name_of(open_engine(weights)) == "TorchEngine"


def test_auto_never_is_onnx_for_half_precision(folder, weights, without):
    without("openvino")
    assert name_of(open_engine(weights, precision="bf16")) == "TorchEngine"
    with pytest.raises(ModelError, match="the openvino engine needs openvino: pip install"):
        open_engine(folder, precision="bf16")


def test_what_is_known_of_a_checkpoint_is_passed_on(weights):
    known = ModelConfig("by another name", 64, "squash")
    for engine in ("onnx", "torch"):
        found = open_engine(weights / "model.safetensors", engine, config=known).config
        assert found.name == "by another name"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tpu"}, "there is no engine 'tpu'; use auto, fake-quant, onnx, openvino or torch"),
        ({"device": "tpu"}, "there is no device 'tpu'; use auto, cpu, cuda or mps"),
        (
            {"precision": "int3"},
            "there is no precision 'int3'; use auto, float32, bfloat16, float16, int8, fp32, bf16 or fp16",
        ),
        (
            {"engine": "onnx", "precision": "bf16"},
            "the onnx engine computes in float32 or int8; for bfloat16 use openvino or torch",
        ),
        ({"engine": "onnx", "device": "cuda"}, "the onnx engine runs on the CPU; for cuda use torch"),
        ({"engine": "openvino", "device": "mps"}, "the openvino engine runs on the CPU; for mps use torch"),
        (
            {"engine": "openvino", "compile": True},
            "the openvino engine needs no compiling; leave compile out, or use torch",
        ),
        (
            {"engine": "torch"},
            "{folder}: holds ONNX files, which the torch engine cannot run; use onnx or openvino, on the CPU",
        ),
        (
            {"device": "cuda"},
            "{folder}: holds ONNX files, which the torch engine cannot run; use onnx or openvino, on the CPU",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(folder, options, message):
    with pytest.raises(ModelError) as error:
        open_engine(folder, **options)
    assert str(error.value) == message.format(folder=folder)


@pytest.mark.parametrize(
    ("missing", "engine", "message"),
    [
        ("openvino", "openvino", "the openvino engine needs openvino: {openvino}"),
        ("torch", "torch", "the torch engine needs torch: {export}"),
        ("onnx", "onnx", "{weights}: holds weights, and onnx is needed to run them: {export}"),
    ],
)
def test_what_is_not_installed_is_named_with_the_remedy(weights, without, missing, engine, message):
    without(missing)
    with pytest.raises(ModelError) as error:
        open_engine(weights, engine)
    remedies = {extra: how_to_install(extra) for extra in ("openvino", "export")}
    assert str(error.value) == message.format(weights=weights, **remedies)


def test_without_pytorch_weights_cannot_be_run_at_all(weights, without):
    without("torch", "onnx")
    with pytest.raises(ModelError, match=r"holds weights, and \w+ is needed .* pip install .*\[export\]"):
        open_engine(weights)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"encoder\.onnx: is missing"):
        open_engine(tmp_path)


def test_pytorch_is_imported_only_where_an_nvidia_driver_is(weights, tmp_path):
    code = (
        "import sys; from pathlib import Path; from pocketsam.engines import registry;"
        "from pocketsam.engines.base import EngineOptions;"
        "driver, source = sys.argv[1:]; registry.installed('torch');"
        "registry.shutil.which = lambda name: driver or None;"
        "registry.choose(Path(source), EngineOptions()); print('torch' in sys.modules)"
    )
    for driver, imported in (("", "False"), ("/usr/bin/nvidia-smi", "True")):
        command = [sys.executable, "-c", code, driver, str(weights)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == imported
