"""On the model inside the package. Nothing here depends on what it has learnt."""

import re
import shutil

import numpy as np
import pytest

from pocketsam.description import Description
from pocketsam.engines import open_engine
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.errors import ModelError
from pocketsam.segmenter import PROMPTS_PER_BATCH
from pocketsam.zoo import locate


@pytest.fixture(scope="module")
def onnx_engine() -> OnnxEngine:
    return OnnxEngine(locate("pocket"), threads=2)


@pytest.fixture(scope="module")
def embedding(onnx_engine) -> np.ndarray:
    size = onnx_engine.description.image_size
    return onnx_engine.encode(np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32))


@pytest.fixture
def folder(tmp_path):
    """A copy of the model, to be spoilt."""
    for file in ("encoder.onnx", "decoder.onnx"):
        shutil.copy(locate("pocket") / file, tmp_path)
    return tmp_path


def prompts(engine, n: int, seed: int = 0):
    random = np.random.default_rng(seed)
    size = engine.description.image_size
    points = random.uniform(0, size, (n, 2, 2)).astype(np.float32)
    labels = np.tile(np.array([1, -1], np.int32), (n, 1))
    return points, labels, np.zeros((n, 1, size // 4, size // 4), np.float32), np.zeros(n, np.float32)


def test_shapes(onnx_engine, embedding):
    side = onnx_engine.description.image_size // 4
    assert embedding.shape == (1, 256, side // 4, side // 4)
    logits, predicted_iou = onnx_engine.decode(embedding, *prompts(onnx_engine, 3))
    assert (logits.shape, predicted_iou.shape) == ((3, 4, side, side), (3, 4))
    assert (embedding.dtype, logits.dtype, predicted_iou.dtype) == (np.float32,) * 3
    assert np.isfinite(logits).all() and np.isfinite(predicted_iou).all()


def test_an_objects_answer_does_not_depend_on_its_neighbours(onnx_engine, embedding):
    many = prompts(onnx_engine, PROMPTS_PER_BATCH + 2)
    logits, predicted_iou = onnx_engine.decode(embedding, *many)
    assert len(logits) == PROMPTS_PER_BATCH + 2
    for i in (0, PROMPTS_PER_BATCH, PROMPTS_PER_BATCH + 1):
        alone = onnx_engine.decode(embedding, *(values[i : i + 1] for values in many))
        np.testing.assert_allclose(alone[0][0], logits[i], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(alone[1][0], predicted_iou[i], rtol=1e-3, atol=1e-3)


def test_a_mask_input_is_used_only_where_it_is_said_to_be_there(onnx_engine, embedding):
    points, labels, mask_input, has_mask = prompts(onnx_engine, 1)
    plain, _ = onnx_engine.decode(embedding, points, labels, mask_input, has_mask)
    ignored, _ = onnx_engine.decode(embedding, points, labels, mask_input + 5, has_mask)
    used, _ = onnx_engine.decode(embedding, points, labels, mask_input + 5, has_mask + 1)
    np.testing.assert_array_equal(plain, ignored)
    assert not np.allclose(plain, used, atol=1e-3)


def test_auto_takes_the_onnx_files():
    assert isinstance(open_engine(locate("pocket"), threads=1), OnnxEngine)


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx"])
def test_missing_files_are_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(ModelError, match=f"{re.escape(file)}: is missing"):
        OnnxEngine(folder)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_named(folder, kept):
    content = (folder / "decoder.onnx").read_bytes()
    (folder / "decoder.onnx").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ModelError, match=r"decoder\.onnx: is damaged or not an ONNX model") as error:
        OnnxEngine(folder)
    assert "\n" not in str(error.value)


def test_foreign_files_are_named(folder):
    shutil.copy(folder / "decoder.onnx", folder / "encoder.onnx")
    with pytest.raises(ModelError, match=r"encoder\.onnx: is not the encoder of a PocketSAM model"):
        OnnxEngine(folder)


def test_an_encoder_and_a_decoder_of_different_models_are_refused(folder):
    onnx = pytest.importorskip("onnx")
    decoder = onnx.load(folder / "decoder.onnx")
    onnx.helper.set_model_props(decoder, {"pocketsam": Description("another").to_json()})
    onnx.save(decoder, folder / "decoder.onnx")
    with pytest.raises(ModelError, match="different models"):
        OnnxEngine(folder)
