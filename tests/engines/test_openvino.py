"""What is OpenVINO's own: its precisions and its options."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from pocketsam import Segmenter
from pocketsam.engines.openvino import OpenVinoEngine
from pocketsam.errors import ModelError

SAMPLES = Path(__file__).parents[2] / "samples"
CAPABILITIES = {"bfloat16": "BF16", "float16": "FP16"}


@pytest.fixture(scope="module")
def photo():
    """The shirt in front of ONNX Runtime, in float32."""
    return Segmenter(engine="onnx").open(SAMPLES / "tshirt.jpg")


@pytest.mark.parametrize("precision", CAPABILITIES)
def test_half_precision_keeps_the_masks_or_is_refused(precision, photo):
    if CAPABILITIES[precision] not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
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
