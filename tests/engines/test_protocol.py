"""What every engine must do alike, on a small model with random weights."""

import numpy as np
import pytest

SIZE = 64
SHAPES = [(1, 2), (1, 0), (3, 0), (3, 5), (64, 2)]  # objects, points


@pytest.fixture(params=["onnx", "openvino", "torch"])
def engine(request, engines):
    return engines[request.param]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def embedding(engines, image) -> np.ndarray:
    return engines["torch"].encode(image)


def prompts(objects: int, points: int, seed: int = 0):
    """Every kind of label, and a mask for about half of the objects; for all that have no point."""
    random = np.random.default_rng(seed)
    return (
        random.uniform(0, SIZE, (objects, points, 2)).astype(np.float32),
        random.integers(-1, 4, (objects, points)).astype(np.int32),
        random.normal(size=(objects, 1, SIZE // 4, SIZE // 4)).astype(np.float32),
        random.integers(0 if points else 1, 2, objects).astype(np.float32),
    )


def test_an_embedding_is_pytorchs_to_a_thousandth(engine, image, embedding):
    ours = engine.encode(image)
    assert ours.shape == (1, 256, SIZE // 16, SIZE // 16)
    assert ours.dtype == np.float32
    assert np.abs(ours - embedding).max() <= 1e-3 * embedding.std()


@pytest.mark.parametrize(("objects", "points"), SHAPES)
def test_answers_are_pytorchs_to_a_thousandth(engine, engines, embedding, objects, points):
    given = prompts(objects, points)
    logits, predicted_iou = engine.decode(embedding, *given)
    expected, expected_iou = engines["torch"].decode(embedding, *given)
    assert logits.shape == (objects, 4, SIZE // 4, SIZE // 4)
    assert predicted_iou.shape == (objects, 4)
    assert (logits.dtype, predicted_iou.dtype) == (np.float32, np.float32)
    assert np.abs(logits - expected).max() <= 1e-3 * expected.std()
    np.testing.assert_allclose(predicted_iou, expected_iou, atol=1e-4)


def test_an_objects_answer_does_not_depend_on_its_neighbours(engine, embedding):
    given = prompts(5, 2)
    together, _ = engine.decode(embedding, *given)
    alone, _ = engine.decode(embedding, *(values[3:4] for values in given))
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-3, atol=1e-3)


def test_answers_are_safe_to_keep(engine, embedding, image):
    first, other = engine.encode(image), prompts(2, 2, seed=1)
    answer = engine.decode(embedding, *prompts(2, 2))
    kept = [first.copy(), *(part.copy() for part in answer)]
    engine.encode(image + 1)
    assert not np.allclose(engine.decode(embedding, *other)[0], answer[0])
    for ours, former in zip([first, *answer], kept, strict=True):
        np.testing.assert_array_equal(ours, former)
        assert ours.flags.writeable


def test_inputs_need_not_be_contiguous_and_stay_as_they_are(engine, embedding):
    given = prompts(3, 4)
    expected, _ = engine.decode(embedding, *given)
    odd = tuple(np.repeat(values, 2, axis=0)[::2] for values in given)
    before = [values.copy() for values in odd]
    np.testing.assert_array_equal(engine.decode(embedding, *odd)[0], expected)
    for values, former in zip(odd, before, strict=True):
        np.testing.assert_array_equal(values, former)


def test_a_mask_input_is_used_only_where_it_is_said_to_be_there(engine, embedding):
    points, labels, mask_input, has_mask = prompts(1, 2)
    none = np.zeros_like(has_mask)
    plain, _ = engine.decode(embedding, points, labels, mask_input, none)
    ignored, _ = engine.decode(embedding, points, labels, mask_input + 5, none)
    used, _ = engine.decode(embedding, points, labels, mask_input + 5, none + 1)
    np.testing.assert_array_equal(plain, ignored)
    assert not np.allclose(plain, used, atol=1e-3)


def test_the_description_is_the_same_in_every_form(engine, engines):
    assert engine.description == engines["torch"].description
    assert engine.description.licence == "CC0-1.0"
    assert len(engine.description.weights) == 64
