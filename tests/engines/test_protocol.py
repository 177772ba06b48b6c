"""What every engine must do alike, on a small model with random weights."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pocketsam.engines import decode

SIZE = 64
SHAPES = [(0, 2), (1, 2), (1, 0), (3, 0), (3, 5), (20, 2), (40, 5)]  # objects, points


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
    logits, predicted_iou = decode(engine, embedding, *given)
    expected, expected_iou = decode(engines["torch"], embedding, *given)
    assert logits.shape == (objects, 4, SIZE // 4, SIZE // 4)
    assert predicted_iou.shape == (objects, 4)
    assert (logits.dtype, predicted_iou.dtype) == (np.float32, np.float32)
    if objects:
        assert np.abs(logits - expected).max() <= 1e-3 * expected.std()
    np.testing.assert_allclose(predicted_iou, expected_iou, atol=1e-4)


def test_an_objects_answer_does_not_depend_on_its_neighbours(engine, embedding):
    """Several prompts are a thread's each, a single one all threads'."""
    given = prompts(5, 2)
    together, together_iou = decode(engine, embedding, *given)
    for i in range(5):
        alone, alone_iou = decode(engine, embedding, *(values[i : i + 1] for values in given))
        assert np.abs(alone[0] - together[i]).max() <= 1e-5 * together.std()
        np.testing.assert_allclose(alone_iou[0], together_iou[i], atol=1e-6)


def test_what_is_drawn_is_what_was_asked_for(engine, embedding):
    """Any of the objects, in any order, as often as wanted, or none."""
    points, labels, *_ = prompts(5, 2)
    prediction = engine.predict_iou(engine.prepare(embedding), points, labels)
    drawn = engine.decode_masks(prediction, range(5))
    for objects in ([3], [4, 0], [2, 2, 1, 4, 2], np.array([1, 3])):
        some = engine.decode_masks(prediction, objects)
        assert some.dtype == np.float32
        assert some.shape == (len(objects), 4, SIZE // 4, SIZE // 4)
        assert np.abs(some - drawn[np.asarray(objects)]).max() <= 1e-5 * drawn.std()
    for none in ([], np.zeros(0, np.intp)):
        nothing = engine.decode_masks(prediction, none)
        assert (nothing.shape, nothing.dtype) == ((0, 4, SIZE // 4, SIZE // 4), np.float32)


@pytest.mark.parametrize(("objects", "points", "embeddings"), [(1, 2, 1), (3, 0, 2), (20, 1, 3)])
def test_prompts_may_come_as_ready_made_embeddings(engine, engines, embedding, objects, points, embeddings):
    """Beside points, or without any."""
    clicks = prompts(objects, points)[:2]
    sparse = np.random.default_rng(1).normal(size=(objects, embeddings, 256)).astype(np.float32)
    answers = []
    for one in (engine, engines["torch"]):
        prediction = one.predict_iou(one.prepare(embedding), *clicks, sparse)
        answers.append((prediction.predicted_iou, one.decode_masks(prediction, range(objects))))
    (iou, logits), (expected_iou, expected) = answers
    np.testing.assert_allclose(iou, expected_iou, atol=1e-4)
    assert np.abs(logits - expected).max() <= 1e-3 * expected.std()
    without = engine.predict_iou(engine.prepare(embedding), *clicks)
    assert np.abs(without.predicted_iou - iou).max() > 1e-3


def test_ready_made_embeddings_of_points_are_those_points(engine, engines, embedding):
    points, labels = prompts(2, 3)[:2]
    encoder = engines["torch"].sam.prompt_encoder
    with torch.no_grad():
        tokens = encoder.points(torch.from_numpy(points), torch.from_numpy(labels), SIZE).numpy()
    prepared = engine.prepare(embedding)
    ready_made = engine.predict_iou(prepared, points[:, :0], labels[:, :0], tokens)
    usual = engine.predict_iou(prepared, points, labels)
    np.testing.assert_allclose(ready_made.predicted_iou, usual.predicted_iou, atol=1e-4)


def test_nobody_may_ask(engine, embedding):
    prediction = engine.predict_iou(
        engine.prepare(embedding), np.zeros((0, 1, 2), np.float32), np.zeros((0, 1), np.int32)
    )
    assert (prediction.predicted_iou.shape, prediction.predicted_iou.dtype) == ((0, 4), np.float32)
    assert engine.decode_masks(prediction, []).shape == (0, 4, SIZE // 4, SIZE // 4)


def test_a_prepared_photo_answers_any_number_of_prompts_and_keeps_out_the_next_photo(engine, embedding):
    first, second = prompts(2, 2), prompts(3, 1, seed=1)
    mask_input = first[2][:1]
    prepared, masked = engine.prepare(embedding), engine.prepare(embedding, mask_input)

    def answer(photo, prompt):
        prediction = engine.predict_iou(photo, *prompt[:2])
        return [prediction.predicted_iou, engine.decode_masks(prediction, range(len(prompt[0])))]

    before = [answer(prepared, first), answer(prepared, second), answer(masked, first)]
    kept = engine.predict_iou(prepared, *first[:2])  # to be drawn after another photo was prepared
    other = engine.prepare(embedding[..., ::-1] + 1, mask_input + 5)
    elsewhere = answer(other, first)
    after = [answer(prepared, first), answer(prepared, second), answer(masked, first)]
    for ours, former in zip(after, before, strict=True):
        for part, former_part in zip(ours, former, strict=True):
            np.testing.assert_array_equal(part, former_part)
    np.testing.assert_array_equal(engine.decode_masks(kept, range(2)), before[0][1])
    assert not np.allclose(before[0][1], before[2][1], atol=1e-3)
    assert not np.allclose(before[0][1], elsewhere[1], atol=1e-3)


def test_several_threads_may_use_one_engine(engine, embedding, image):
    photos = [embedding, embedding[..., ::-1] + 1]
    jobs = [(photos[i % 2], prompts(1 + 2 * (i % 3), 2, seed=i)) for i in range(6)]

    def work(job):
        photo, given = job
        return [engine.encode(image + given[0].mean()), *decode(engine, photo, *given)]

    expected = [work(job) for job in jobs]
    with ThreadPoolExecutor(3) as pool:
        for ours, theirs in zip(pool.map(work, jobs), expected, strict=True):
            for part, their_part in zip(ours, theirs, strict=True):
                assert np.abs(part - their_part).max() <= 1e-5 * max(1, their_part.std())


def test_answers_are_safe_to_keep(engine, embedding, image):
    first, other = engine.encode(image), prompts(2, 2, seed=1)
    answer = decode(engine, embedding, *prompts(2, 2))
    kept = [first.copy(), *(part.copy() for part in answer)]
    engine.encode(image + 1)
    assert not np.allclose(decode(engine, embedding, *other)[0], answer[0])
    for ours, former in zip([first, *answer], kept, strict=True):
        np.testing.assert_array_equal(ours, former)
        assert ours.flags.writeable


@pytest.mark.parametrize("kept", [True, False])
def test_answers_wait_for_being_drawn_while_others_are_asked(engine, engines, embedding, kept):
    """Kept ones are never written over; dropped ones may be, by prompts of more points and of fewer."""
    reference, prepared = engines["torch"], engine.prepare(embedding)
    waiting = []
    for seed, points in enumerate((2, 5, 3, 2, 5, 1, 2)):
        prompt = prompts(19, points, seed=seed)[:2]
        waiting.append((engine.predict_iou(prepared, *prompt), prompt))
        for prediction, asked in waiting if seed == 6 or not kept else []:
            wanted = reference.predict_iou(reference.prepare(embedding), *asked)
            expected = reference.decode_masks(wanted, range(19))
            assert (
                np.abs(engine.decode_masks(prediction, range(19)) - expected).max() <= 1e-3 * expected.std()
            )
            np.testing.assert_allclose(prediction.predicted_iou, wanted.predicted_iou, atol=1e-4)
        if not kept:
            prediction = waiting.pop()[0]
            del prediction


def test_inputs_need_not_be_contiguous_and_stay_as_they_are(engine, embedding):
    given = prompts(3, 4)
    expected, _ = decode(engine, embedding, *given)
    odd = tuple(np.repeat(values, 2, axis=0)[::2] for values in given)
    before = [values.copy() for values in odd]
    np.testing.assert_array_equal(decode(engine, embedding, *odd)[0], expected)
    for values, former in zip(odd, before, strict=True):
        np.testing.assert_array_equal(values, former)


def test_a_mask_input_is_used_only_where_it_is_said_to_be_there(engine, embedding):
    points, labels, mask_input, has_mask = prompts(1, 2)
    none = np.zeros_like(has_mask)
    plain, _ = decode(engine, embedding, points, labels, mask_input, none)
    ignored, _ = decode(engine, embedding, points, labels, mask_input + 5, none)
    used, _ = decode(engine, embedding, points, labels, mask_input + 5, none + 1)
    np.testing.assert_array_equal(plain, ignored)
    assert not np.allclose(plain, used, atol=1e-3)


def test_the_description_is_the_same_in_every_form(engine, engines):
    assert engine.config == engines["torch"].config
    assert engine.config.licence == "CC0-1.0"
    found = engine.config
    assert (found.pred_iou_thresh, found.stability_score_thresh, found.confident_logit) == (0.75, 0.5, -1.25)
    assert len(engine.config.weights) == 64
