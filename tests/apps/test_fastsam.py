"""FastSAM's networks: decoding as ultralytics decodes it, and files that are something else.

vectors/yolov8_seg.npz has random outputs of networks with inputs of 64 × 64 pixels and 1 or 3 classes, for a square,
a wide and a tall photo, and what ultralytics 8.4.190 made of them: its letterbox, its non_max_suppression with these
thresholds, and its masks, which it enlarges in one step for the square photo and in two for the others.
"""

from pathlib import Path

import numpy as np
import pytest

from networks import write_network
from pocketsam.apps.fastsam import FastSAM, decode
from pocketsam.apps.yolo import Letterbox
from pocketsam.errors import ModelError
from pocketsam.evaluation.metrics import iou
from pocketsam.utils.rle import decode as unpack

VECTORS = dict(np.load(Path(__file__).parent / "vectors" / "yolov8_seg.npz"))
SIDE = (64, 64)


def recorded(name: str) -> dict[str, np.ndarray]:
    return {key.split("_", 1)[1]: value for key, value in VECTORS.items() if key.startswith(name)}


@pytest.mark.parametrize("name", ["square", "wide", "tall"])
def test_decoding_is_that_of_ultralytics(name: str) -> None:
    one = recorded(name)
    place = Letterbox(*one["size"].tolist(), SIDE)
    outputs = (one[key][0].astype(np.float32) for key in ("output0", "output1"))
    found = decode(*outputs, place, *one["thresholds"].tolist())
    np.testing.assert_allclose(found.boxes, one["boxes"], atol=1e-3)
    np.testing.assert_allclose(found.scores, one["scores"], atol=1e-6)
    np.testing.assert_array_equal(found.classes, one["classes"])
    expected = np.unpackbits(one["masks"], axis=-1, count=one["size"][1]).astype(bool)
    ious = [iou(unpack(rle), mask) for rle, mask in zip(found.rle, expected, strict=True)]
    if name == "square":
        assert min(ious) > 0.995  # but for logits that are 0 within rounding
    else:  # ultralytics enlarges these in two steps, and so moves outlines by a fraction of a pixel
        assert np.mean(ious) > 0.97


@pytest.mark.parametrize("name", ["square", "wide", "tall"])
def test_the_letterbox_is_that_of_ultralytics(name: str) -> None:
    one = recorded(name)
    framed = Letterbox(*one["size"].tolist(), SIDE).input(one["photo"])
    np.testing.assert_array_equal(framed, one["letterboxed"])


def test_a_mask_ends_at_its_box_and_an_empty_one_is_left_out() -> None:
    output = np.zeros((37, 2), np.float32)
    output[:5] = [[20, 50], [30, 30], [16, 8], [20, 8], [0.9, 0.8]]
    output[5] = [1, -1]  # the second one's logits are negative everywhere
    found = decode(output, np.ones((32, 16, 16), np.float32), Letterbox(64, 64, SIDE), 0.4, 0.9)
    expected = np.zeros(SIDE, bool)
    expected[20:40, 12:28] = True
    (rle,) = found.rle
    np.testing.assert_array_equal(unpack(rle), expected)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    one = recorded("wide")
    outputs = (one[key].astype(np.float32) for key in ("output0", "output1"))
    metadata = {"names": "{0: 'cat', 1: 'dog', 2: 'bird'}", "imgsz": "[64, 64]"}
    return write_network(tmp_path / "fastsam.onnx", *outputs, metadata=metadata, side="side")


def test_a_file_gives_the_objects_of_a_photo(network: Path) -> None:
    one = recorded("wide")
    found = FastSAM(network, *one["thresholds"].tolist()).everything(one["photo"], "photo.jpg")
    assert len(found) == len(one["scores"])
    assert found.size == (45, 80) and found.file_name == "photo.jpg"
    assert list(found.names) == [("cat", "dog", "bird")[number] for number in one["classes"]]
    np.testing.assert_allclose(found.predicted_iou, one["scores"], atol=1e-4)
    assert not found.empty.any()


def test_what_is_no_such_file_is_one_line(tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.onnx", tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with_nms = write_network(tmp_path / "nms.onnx", np.zeros((1, 300, 38), np.float32))
    few = np.zeros((1, 20, 84), np.float32)
    other = write_network(tmp_path / "other.onnx", few, np.zeros((1, 32, 16, 16), np.float32))
    for file, reason in (
        (missing, "there is no such file"),
        (broken, "cannot be read as ONNX"),
        (with_nms, "is no segmentation model"),
    ):
        with pytest.raises(ModelError, match=f"{file.name}: {reason}.*exported to ONNX without NMS"):
            FastSAM(file)
    with pytest.raises(ModelError, match=r"other.onnx: gives \(1, 20, 84\) and .*; give a YOLOv8-seg"):
        FastSAM(other).everything(np.zeros((20, 30, 3), np.uint8))
