"""SamPredictor as published: what it takes, what it gives, and when it refuses."""

import sys

import numpy as np
import pytest
import torch

from pocketsam import Segmenter
from pocketsam.compat import SamPredictor
from pocketsam.compat.utils.transforms import ResizeLongestSide
from pocketsam.config import EFFICIENT_SAM, TINY_SAM, ModelConfig
from pocketsam.errors import InputError, ModelError

PHOTO = np.zeros((48, 64, 3), np.uint8)
LARGE = np.zeros((96, 128, 3), np.uint8)  # twice the model's input


@pytest.fixture
def predictor(sam) -> SamPredictor:
    predictor = SamPredictor(sam)
    predictor.set_image(PHOTO)
    return predictor


def test_its_masks_are_the_segmenters(engine, predictor):
    photo = Segmenter(engine=engine).open(PHOTO)
    box = np.array([8, 8, 40, 32])
    masks, iou, logits = predictor.predict(box=box, multimask_output=False)
    expected = photo.segment(boxes=box)
    np.testing.assert_array_equal(masks, expected.binary)
    np.testing.assert_array_equal(logits, expected.logits)
    np.testing.assert_array_equal(iou, expected.predicted_iou)
    for key, ours in engine.decoded[0].items():
        np.testing.assert_array_equal(ours, engine.decoded[1][key])


def test_three_masks_come_in_the_models_own_order(predictor):
    masks, iou, logits = predictor.predict(np.array([[32, 24]]), np.array([1]))
    assert (masks.shape, masks.dtype) == ((3, 48, 64), bool)
    assert iou.tolist() == pytest.approx([0.7, 0.9, 0.8])
    assert (logits.shape, logits.dtype) == ((3, 16, 16), np.float32)
    assert masks[0].sum() > masks[1].sum() > masks[2].sum()


def test_one_mask_is_the_one_for_unambiguous_prompts(predictor):
    masks, iou, _ = predictor.predict(np.array([[32, 24]]), np.array([1]), multimask_output=False)
    assert masks.shape == (1, 48, 64)
    assert iou.tolist() == [0.5]


def test_one_mask_of_a_model_that_has_only_three_is_the_most_confident(engine, predictor):
    engine.config = ModelConfig("fake", 64, prompt_masks=TINY_SAM.prompt_masks)
    _, iou, _ = predictor.predict(np.array([[32, 24]]), np.array([1]), multimask_output=False)
    assert iou.tolist() == pytest.approx([0.9])


def test_logits_instead_of_masks(predictor):
    prompt = np.array([[32, 24]]), np.array([1])
    logits, _, _ = predictor.predict(*prompt, return_logits=True)
    assert logits.dtype == np.float32
    masks, _, _ = predictor.predict(*prompt)
    np.testing.assert_array_equal(logits > 0, masks)


def test_coordinates_are_pixels_of_the_photo(engine, sam):
    predictor = SamPredictor(sam)
    predictor.set_image(LARGE)
    predictor.predict(np.array([[64, 48], [2, 4]]), np.array([1, 0]), box=np.array([10, 20, 30, 40]))
    np.testing.assert_allclose(engine.decoded[0]["points"], [[[32, 24], [1, 2], [5, 10], [15, 20]]])
    assert engine.decoded[0]["labels"].tolist() == [[1, 0, 2, 3]]


def test_points_may_lie_outside_the_photo(engine, predictor):
    predictor.predict(np.array([[-5.5, 70]]), np.array([1]))
    np.testing.assert_allclose(engine.decoded[0]["points"], [[[-5.5, 70], [0, 0]]])


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ({"point_coords": [[5, 6]], "point_labels": [1]}, [[1, -1]]),
        ({"box": [5, 6, 20, 20]}, [[2, 3]]),
        ({"box": [[5, 6, 20, 20]]}, [[2, 3]]),
        ({"mask_input": np.zeros((1, 16, 16))}, [[]]),
        ({"point_coords": [[5, 6]], "point_labels": [0], "mask_input": np.zeros((1, 16, 16))}, [[0, -1]]),
        ({}, [[]]),
    ],
    ids=["point", "box", "boxes of one", "mask", "point and mask", "nothing"],
)
def test_a_padding_point_stands_only_after_points_without_a_box(engine, predictor, prompt, labels):
    masks, _, _ = predictor.predict(**prompt)
    assert masks.shape == (3, 48, 64)
    assert engine.decoded[0]["labels"].tolist() == labels
    assert engine.decoded[0]["has_mask"].tolist() == [float("mask_input" in prompt)]


def test_a_model_may_want_more_padding(engine, predictor):
    engine.config = ModelConfig("fake", 64, pad_points_to=EFFICIENT_SAM.pad_points_to)
    predictor.predict(box=np.array([5, 6, 20, 20]))
    assert engine.decoded[0]["labels"].tolist() == [[2, 3, -1, -1, -1, -1]]


def test_an_answer_can_be_passed_back(engine, predictor):
    masks, _, logits = predictor.predict(box=np.array([8, 8, 40, 32]), multimask_output=False)
    again, _, _ = predictor.predict(np.array([[20, 20]]), np.array([1]), None, logits, multimask_output=False)
    np.testing.assert_array_equal(engine.decoded[1]["mask_input"][0], logits)
    np.testing.assert_array_equal(again, masks)


def test_blue_green_red(engine, sam):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    predictor.set_image(np.ascontiguousarray(image[..., ::-1]), image_format="BGR")
    np.testing.assert_array_equal(engine.encoded[0], engine.encoded[1])
    with pytest.raises(AssertionError, match="'RGB' or 'BGR'"):
        predictor.set_image(image, "HSV")


def test_nothing_is_predicted_without_an_image(predictor):
    assert predictor.is_image_set
    predictor.reset_image()
    assert not predictor.is_image_set
    assert predictor.features is predictor.original_size is predictor.input_size is None
    for ask in (
        predictor.predict,
        lambda: predictor.predict_torch(None, None),
        predictor.get_image_embedding,
    ):
        with pytest.raises(RuntimeError, match="no image is set"):
            ask()


def test_points_need_labels(predictor):
    with pytest.raises(AssertionError, match="need their point_labels"):
        predictor.predict(np.array([[1, 2]]))
    with pytest.raises(AssertionError, match="need their point_labels"):
        predictor.predict_torch(torch.zeros(1, 1, 2), None)


def test_what_does_not_fit_together_is_said_in_one_line(engine, predictor):
    with pytest.raises(InputError, match="give each its own"):
        predictor.predict(np.array([[1, 2], [3, 4]]), np.array([1]))
    with pytest.raises(InputError, match="for 1 or 2 objects"):
        predictor.predict_torch(torch.zeros(1, 1, 2), torch.ones(1, 1), torch.zeros(2, 4))
    with pytest.raises(InputError, match="mask_input is 8×8, but this model takes logits of 16×16"):
        predictor.predict(mask_input=np.zeros((1, 8, 8)))
    with pytest.raises(RuntimeError, match="predict_torch takes several"):
        predictor.predict(box=np.zeros((2, 4)))
    with pytest.raises(InputError, match="give the corners of a box as box"):
        predictor.predict(np.array([[1, 2], [3, 4]]), np.array([2, 3]))
    engine.config = ModelConfig("fake", 64, takes_masks=False)
    with pytest.raises(InputError, match="takes no mask"):
        predictor.predict(mask_input=np.zeros((1, 16, 16)))


def test_a_photo_is_checked_as_everywhere_else(predictor):
    with pytest.raises(InputError, match="has no pixels"):
        predictor.set_image(np.zeros((0, 4, 3), np.uint8))


def test_many_objects_in_tensors(engine, predictor):
    coords, labels = torch.tensor([[[8.0, 8.0]], [[40.0, 30.0]]]), torch.tensor([[1], [1]])
    masks, iou, logits = predictor.predict_torch(coords, labels)
    assert (masks.dtype, tuple(masks.shape)) == (torch.bool, (2, 3, 48, 64))
    assert (iou.dtype, tuple(iou.shape)) == (torch.float32, (2, 3))
    assert tuple(logits.shape) == (2, 3, 16, 16)
    for i in range(2):
        alone, _, _ = predictor.predict(coords[i].numpy(), labels[i].numpy())
        np.testing.assert_array_equal(alone, masks[i].numpy())
    as_logits, _, _ = predictor.predict_torch(coords, labels, return_logits=True, multimask_output=False)
    assert (as_logits.dtype, tuple(as_logits.shape)) == (torch.float32, (2, 1, 48, 64))
    predictor.predict_torch(coords, labels, mask_input=torch.ones(1, 1, 16, 16))
    assert [call["has_mask"].tolist() for call in engine.decoded[-2:]] == [[1], [1]], (
        "one mask is everybody's"
    )


def test_no_boxes_no_masks(predictor):
    masks, iou, logits = predictor.predict_torch(None, None, torch.zeros(0, 4), multimask_output=False)
    assert [tuple(t.shape) for t in (masks, iou, logits)] == [(0, 1, 48, 64), (0, 1), (0, 1, 16, 16)]


def test_an_embedding_can_be_kept_and_put_back(engine, predictor):
    embedding = predictor.get_image_embedding()
    assert isinstance(embedding, torch.Tensor)
    assert tuple(embedding.shape) == (1, 256, 4, 4)
    before, _, _ = predictor.predict(box=np.array([8, 8, 40, 32]))
    another = SamPredictor(predictor.model)
    another.features, another.original_size, another.is_image_set = embedding, (48, 64), True
    after, _, _ = another.predict(box=np.array([8, 8, 40, 32]))
    np.testing.assert_array_equal(before, after)
    assert len(engine.encoded) == 1


def test_an_image_that_is_resized_already(engine, sam):
    engine.config = ModelConfig("fake", 64)  # with SAM's mean and deviation
    image = np.random.default_rng(0).integers(0, 255, LARGE.shape, np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    resized = predictor.transform.apply_image(image)
    assert resized.shape == (48, 64, 3)
    predictor.set_torch_image(torch.as_tensor(resized).permute(2, 0, 1)[None], image.shape[:2])
    np.testing.assert_allclose(engine.encoded[1], engine.encoded[0])
    assert predictor.original_size == (96, 128)
    assert predictor.input_size == (48, 64)
    with pytest.raises(AssertionError, match="resize it with predictor"):
        predictor.set_torch_image(torch.zeros(1, 3, 64, 64), image.shape[:2])


def test_a_model_that_squashes_gets_its_own_transform(engine, sam):
    engine.config = ModelConfig("fake", 64, "squash")
    predictor = SamPredictor(sam)
    predictor.set_image(LARGE)
    assert predictor.input_size == (64, 64)
    assert predictor.transform.apply_image(LARGE).shape == (64, 64, 3)
    np.testing.assert_allclose(predictor.transform.apply_coords(np.array([[128, 96]]), (96, 128)), [[64, 64]])
    masks, _, _ = predictor.predict(box=np.array([32, 24, 96, 72]), multimask_output=False)
    ys, xs = np.nonzero(masks[0])
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max(), ys.max()], [32, 24, 95, 71], atol=4)


def test_the_transform_alone():
    transform = ResizeLongestSide(1024)
    size = (300, 451)
    assert transform.get_preprocess_shape(*size, 1024) == (681, 1024)
    assert transform.apply_image(np.zeros((*size, 3), np.uint8)).shape == (681, 1024, 3)
    assert tuple(transform.apply_image_torch(torch.zeros(2, 3, *size)).shape) == (2, 3, 681, 1024)
    coords, boxes = np.array([[451, 300], [0, 0]]), np.array([[0, 0, 451, 300]])
    np.testing.assert_allclose(transform.apply_coords(coords, size), [[1024, 681], [0, 0]])
    np.testing.assert_allclose(transform.apply_boxes(boxes[0], size), [[0, 0, 1024, 681]])
    assert transform.apply_coords_torch(torch.tensor(coords), size).tolist() == [[1024, 681], [0, 0]]
    assert transform.apply_boxes_torch(torch.tensor(boxes), size).tolist() == [[0, 0, 1024, 681]]


def test_a_model_that_does_not_antialias_has_its_own_way_of_resizing():
    stripes = np.tile(np.uint8([[[0] * 3], [[255] * 3]]), (64, 128, 1))
    plain = ResizeLongestSide(16, ModelConfig("m", 16, "squash", resampling="plain")).apply_image(stripes)
    assert plain.shape == (16, 16, 3)
    assert plain.std() == 0
    assert plain.dtype == np.uint8


def test_tensors_need_pytorch(sam, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    predictor = SamPredictor(sam)
    predictor.set_image(PHOTO)
    with pytest.raises(ModelError, match="pip install torch"):
        predictor.predict_torch(None, None)
    assert isinstance(predictor.get_image_embedding(), np.ndarray)
    assert predictor.device == "cpu"


def test_points_and_masks_of_other_shapes_are_refused(predictor):
    _, _, logits = predictor.predict(np.array([[32, 24]]), np.array([1]))
    with pytest.raises(ValueError, match=r"mask_input must be \(1, H, W\)"):
        predictor.predict(np.array([[32, 24]]), np.array([1]), mask_input=logits[0])
    with pytest.raises(ValueError, match=r"point_coords must be \(P, 2\)"):
        predictor.predict(np.array([[[32, 24]]]), np.array([[1]]))


def test_a_thread_gets_the_masks_of_its_own_photo_whatever_others_prepare(sam, engine, monkeypatch):
    ours, theirs = (np.full((1, 256, 4, 4), value, np.float32) for value in (1, 2))
    engine.prepare = lambda embedding: (embedding.copy(),)

    def set_and_lose_to_another_thread(self, name, value):
        object.__setattr__(self, name, (theirs, (theirs,)) if name == "_prepared" else value)

    monkeypatch.setattr(type(sam), "__setattr__", set_and_lose_to_another_thread, raising=False)
    assert sam._prepare(ours)[0].max() == 1
