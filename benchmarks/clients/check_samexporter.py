"""samexporter: its exporters' files of a module of ours, run by its own runner, and by PocketSAM's engines.

And its own tests, which are in its source archive only; `make clients` has put that beside the installed packages.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from common import SAMPLES, small_checkpoint, small_under_every_name
from samexporter import export_decoder, export_encoder
from samexporter.sam_onnx import SegmentAnythingONNX

from pocketsam import Segmenter
from pocketsam.compat import SamPredictor, build_sam
from pocketsam.predict.image import load_image


class Passed:
    """Counts the tests that pass."""

    count = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.count += report.when == "call" and report.passed


with tempfile.TemporaryDirectory() as name:
    (archive,) = Path(sys.prefix, "sources").glob("samexporter-*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(name, filter="data")
    (tests,) = Path(name).glob("*/tests")
    passed = Passed()
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(tests)], plugins=[passed]) == 0

small_under_every_name()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    checkpoint = str(small_checkpoint(folder))
    files = [str(folder / f"small.{part}.onnx") for part in ("encoder", "decoder")]
    export_encoder.run_export("vit_b", checkpoint, files[0], use_preprocess=True, opset=17)
    export_decoder.run_export("vit_b", checkpoint, files[1], opset=17, return_single_mask=True)
    runner = SegmentAnythingONNX(*files)
    path = SAMPLES / "sneakers.jpg"
    embedding = runner.encode(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    theirs = runner.predict_masks(embedding, [{"type": "rectangle", "data": [20, 130, 342, 371]}])
    assert theirs.shape[-2:] == (400, 429)
    predictor = SamPredictor(build_sam(checkpoint))
    predictor.set_image(load_image(path))
    points = np.array([[180, 250], [100, 300]])
    expected = predictor.predict(points, np.array([1, 1]), multimask_output=False, return_logits=True)[2]
    for engine in ("onnx", "openvino"):
        photo = Segmenter(folder, engine=engine).open(path)
        difference = abs(photo.segment(points=points).logits - expected).max() / expected.std()
        assert difference < 1e-2, difference
    print(
        f"its own tests: {passed.count} pass; its exporters write encoder and decoder of a module; its runner runs"
        f" them; our engines on its files give the predictor's logits to {difference:.0e} of their deviation"
    )
