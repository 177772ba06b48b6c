"""What is OpenVINO's own: its precisions and its options."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from pocketsam import Segmenter
from pocketsam.engines.openvino import CORE, OpenVinoEngine
from pocketsam.errors import ModelError

SAMPLES = Path(__file__).parents[2] / "samples"
CAPABILITIES = {"bfloat16": "BF16", "float16": "FP16"}


@pytest.fixture(scope="module")
def photo():
    """The shirt in front of ONNX Runtime, in float32."""
    return Segmenter(engine="onnx").open(SAMPLES / "tshirt.jpg")


@pytest.mark.parametrize("precision", CAPABILITIES)
def test_half_precision_keeps_the_masks_or_is_refused(precision, photo):
    if CAPABILITIES[precision] not in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ModelError, match=f"OpenVINO does not compute in {precision}"):
            Segmenter(engine="openvino", precision=precision)
        return
    halved = Segmenter(engine="openvino", precision=precision).open(SAMPLES / "tshirt.jpg")
    boxes = [(61, 20, 446, 382), (200, 100, 400, 300)]
    ours, theirs = halved.segment(boxes=boxes).binary, photo.segment(boxes=boxes).binary
    assert np.count_nonzero(ours & theirs) >= 0.95 * np.count_nonzero(ours | theirs)
    error = np.abs(halved.embedding - photo.embedding).max() / photo.embedding.std()
    assert error > 1e-3, "it computed in float32 after all"


def test_a_precision_that_the_processor_lacks_is_refused(folder, monkeypatch):
    monkeypatch.setattr("pocketsam.engines.openvino.TYPES", {"float32": ov.Type.f32, "bfloat16": ov.Type.f64})
    monkeypatch.setattr("pocketsam.engines.openvino._options", lambda *_: {"INFERENCE_PRECISION_HINT": "f32"})
    with pytest.raises(
        ModelError, match="OpenVINO does not compute in bfloat16 on this processor; use float32"
    ):
        OpenVinoEngine(folder, "bfloat16")


def test_float32_means_float32_and_threads_are_counted(folder):
    engine = OpenVinoEngine(folder, threads=1)
    for requests in (engine._encoder, engine._prepare, *engine._compiled.values()):
        assert requests.graph.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32
        assert requests.graph.get_property("INFERENCE_NUM_THREADS") == 1
        assert not requests.graph.get_property("ENABLE_CPU_PINNING")


SIGNAL_AFTER_FREEING = """
import gc, signal, sys
from pathlib import Path
from threading import Thread

from pocketsam.engines.openvino import OpenVinoEngine

seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append("Ctrl-C"))
engines = []
create = Thread(target=lambda: engines.append(OpenVinoEngine(Path(sys.argv[1]), threads=1)))
free = Thread(target=lambda: (engines.clear(), gc.collect()))
if sys.argv[2] == "created here":
    create.run()
else:
    create.start()
    create.join()
free.start()
free.join()
signal.raise_signal(signal.SIGINT)
OpenVinoEngine(Path(sys.argv[1]), threads=1)
signal.raise_signal(signal.SIGINT)
print(*seen)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alternate stacks for signals")
@pytest.mark.parametrize("where", ["created here", "created elsewhere"])
def test_an_engine_freed_by_another_thread_leaves_signals_alone(folder, where):
    command = [sys.executable, "-c", SIGNAL_AFTER_FREEING, folder, where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Ctrl-C Ctrl-C\n", "")
