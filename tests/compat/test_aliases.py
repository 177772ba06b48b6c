"""`install` and `python -m pocketsam.compat`: code that imports segment_anything runs unchanged."""

import importlib
import importlib.util
import subprocess
import sys

import pytest

from pocketsam import compat
from pocketsam.compat.aliases import NAMES

SCRIPT = """
import sys
import segment_anything
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator
from segment_anything.modeling.image_encoder import window_partition
from segment_anything.utils.amg import batched_mask_to_box
from segment_anything.utils.onnx import SamOnnxModel
from mobile_sam.modeling import Sam
import mobile_sam.predictor
assert mobile_sam.predictor.SamPredictor is SamPredictor is segment_anything.predictor.SamPredictor
assert __name__ == "__main__"
print(SamPredictor.__module__, sys.argv[1:])
"""


@pytest.fixture
def installed():
    before = list(sys.meta_path)
    compat.install()
    yield
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
        del sys.modules[name]


def test_a_script_runs_unchanged(tmp_path):
    script = tmp_path / "theirs.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "pocketsam.compat", script, "--image", "a.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "pocketsam.compat.predictor ['--image', 'a.jpg']\n", done.stderr


@pytest.mark.usefixtures("installed")
def test_modules_are_the_same_under_both_names():
    theirs = importlib.import_module("segment_anything.utils.transforms")
    ours = importlib.import_module("pocketsam.compat.utils.transforms")
    assert theirs is ours
    assert ours.__spec__.name == "pocketsam.compat.utils.transforms"
    assert importlib.util.find_spec("segment_anything.nothing") is None
    compat.install()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mobile_sam.nothing")


def test_a_package_that_is_imported_already_is_not_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "segment_anything", sys)
    with pytest.raises(ImportError, match="segment_anything is imported already"):
        compat.install()


def test_what_is_no_script_is_said():
    for arguments, code, said in ([], 2, "usage"), (["nowhere.py"], 2, "nowhere.py: no such file"):
        done = subprocess.run(
            [sys.executable, "-m", "pocketsam.compat", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert said in done.stdout + done.stderr
