"""What is PyTorch's own: precisions, devices and the compiler."""

from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from pocketsam.engines import decode
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import ModelError

SIZE = 64


def prompts(objects: int, points: int):
    random = np.random.default_rng(objects * 10 + points)
    return (
        random.uniform(0, SIZE, (objects, points, 2)).astype(np.float32),
        random.integers(0, 4, (objects, points)).astype(np.int32),
        random.normal(size=(objects, 1, SIZE // 4, SIZE // 4)).astype(np.float32),
        np.ones(objects, np.float32),
    )


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_keeps_the_masks(engines, weights, image, precision):
    full, half = engines["torch"], TorchEngine.load(weights, "cpu", precision)
    assert {p.dtype for p in half.sam.parameters()} == {getattr(torch, precision)}
    ours, theirs = half.encode(image), full.encode(image)
    assert ours.dtype == np.float32
    assert 0 < np.abs(ours - theirs).max() < 0.1 * theirs.std()
    for given in (prompts(3, 2), prompts(2, 0)):
        (logits, predicted_iou), (expected, _) = decode(half, ours, *given), decode(full, theirs, *given)
        assert (logits.dtype, predicted_iou.dtype) == (np.float32, np.float32)
        inside, true = logits > 0, expected > 0
        assert np.count_nonzero(inside & true) >= 0.95 * np.count_nonzero(inside | true)


def test_a_click_keeps_its_place_in_half_precision(weights, image):
    half = TorchEngine.load(weights, "cpu", "bfloat16")  # in which 50.0 and 50.1 are one number
    embedding, (_, labels, *mask) = half.encode(image), prompts(1, 1)
    here, there = (np.full((1, 1, 2), x, np.float32) for x in (50.0, 50.1))
    first, second = (decode(half, embedding, click, labels, *mask)[0] for click in (here, there))
    assert not np.array_equal(first, second)


def test_an_engine_uses_its_own_number_of_threads_and_leaves_the_process_its(weights, image):
    before, used = torch.get_num_threads(), []
    engine = TorchEngine.load(weights, threads=before + 1)
    encode = engine._encode
    engine._encode = lambda pixels: used.append(torch.get_num_threads()) or encode(pixels)
    engine.encode(image)
    assert (used, torch.get_num_threads()) == ([before + 1], before)
    assert engine.info.threads == before + 1
    assert not engine.info.thread_safe
    engine._encode = lambda pixels: pixels.view(-1, 5)
    with pytest.raises(RuntimeError):
        engine.encode(image)
    assert torch.get_num_threads() == before


def test_casting_leaves_the_callers_module_as_it_was(engines):
    sam = engines["torch"].sam
    TorchEngine(sam, engines["torch"].config, "bfloat16")
    assert {p.dtype for p in sam.parameters()} == {torch.float32}


def test_the_compiler_is_not_called_for_every_number_of_prompts(engines, weights, image, monkeypatch):
    torch._dynamo.reset()
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    compiled = TorchEngine.load(weights, "cpu", compile=True)
    plain = engines["torch"]
    embedding = compiled.encode(image)
    np.testing.assert_allclose(embedding, plain.encode(image), atol=1e-4)
    counts = []
    for objects, points in [(2, 2), (7, 3), (1, 5)]:
        *clicks, mask_input, has_mask = prompts(objects, points)
        for used in (0 * has_mask, has_mask):
            given = *clicks, mask_input, used
            np.testing.assert_allclose(
                decode(compiled, embedding, *given)[0], decode(plain, embedding, *given)[0], atol=1e-4
            )
            counts.append(counter.frame_count)
    # The encoder, and each part of the decoder, for several prompts; then once more for the first that has a mask,
    # which comes alone.
    assert counts == [4, 7, 7, 7, 7, 7]


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:x", "mps", "gpu"])
def test_a_device_that_is_not_there_is_refused(weights, device, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: int(device != "cuda"))
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ModelError, match=f"PyTorch finds no {device} device here; use device='cpu'"):
        TorchEngine.load(weights, device)
