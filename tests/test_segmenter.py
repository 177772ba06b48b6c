import numpy as np
import pytest

import pocketsam
from pocketsam import Segmenter
from pocketsam.config import ModelConfig
from pocketsam.errors import InputError, ModelError
from pocketsam.predict.candidates import choose, rank
from pocketsam.predict.objects import ObjectPrompt

PHOTO = np.zeros((48, 64, 3), np.uint8)  # the fake engine's input is 64 × 64: photo and model pixels agree


@pytest.fixture
def photo(engine):
    return Segmenter(engine=engine).open(PHOTO)


def test_a_photo_is_encoded_once_however_many_prompts_follow(engine, photo):
    assert len(engine.encoded) == 1
    for x in (10, 20, 30):
        photo.segment(points=(x, 20))
    assert len(engine.encoded) == 1
    assert len(engine.decoded) == 3


def test_a_single_click_gets_the_most_confident_of_three(photo):
    masks = photo.segment(points=(32, 24))
    assert masks.predicted_iou.tolist() == pytest.approx([0.9])
    assert masks.binary[0, 24, 32]
    x0, _, x1, _ = masks.boxes[0]
    assert abs(x1 - x0 - 2 * 3 * 4) <= 4  # mask 2 reaches 3 cells of 4 pixels


@pytest.mark.parametrize(
    "prompt",
    [
        {"boxes": (8, 8, 40, 32)},
        {"points": [(20, 20), (30, 30)]},
        {"points": [(20, 20), (50, 30)], "labels": [1, 0]},
        {"points": (20, 20), "mask_input": np.ones((16, 16))},
    ],
    ids=["box", "two clicks", "a negative click", "a mask"],
)
def test_any_other_prompt_gets_the_mask_for_unambiguous_prompts(photo, prompt):
    assert photo.segment(**prompt).predicted_iou.tolist() == [0.5]


def test_many_objects_in_one_call_keep_their_order(engine, photo):
    boxes = [(8, 8, 40, 32), (0, 0, 16, 16), (32, 16, 64, 48)]
    masks = photo.segment(boxes=boxes)
    assert len(engine.decoded) == 1
    assert masks.objects.tolist() == [0, 1, 2]
    np.testing.assert_allclose(masks.boxes, boxes, atol=2)


def test_the_decoder_takes_no_more_prompts_at_a_time_than_told(engine):
    boxes = [(x, 8, x + 10, 32) for x in range(5)]
    together = Segmenter(engine=engine).open(PHOTO).segment(boxes=boxes)
    photo = Segmenter(engine=engine, batch=2).open(PHOTO)
    engine.decoded.clear()
    np.testing.assert_array_equal(photo.segment(boxes=boxes).logits, together.logits)
    assert [len(call["points"]) for call in engine.decoded] == [2, 2, 1]
    with pytest.raises(InputError, match="batch is 0, but the decoder takes at least 1 prompt at a time"):
        Segmenter(engine=engine, batch=0)


def test_all_masks_are_sorted_by_predicted_iou_object_after_object(photo):
    masks = photo.segment(points=[[(20, 20)], [(40, 30)]], multimask=True)
    assert masks.predicted_iou.tolist() == pytest.approx([0.9, 0.8, 0.7] * 2)
    assert masks.objects.tolist() == [0, 0, 0, 1, 1, 1]
    assert masks.areas[2] > masks.areas[0] > masks.areas[1]


def test_objects_may_be_given_in_different_ways_and_keep_their_order(photo):
    box, click, clicks = (
        ObjectPrompt(box=(8, 8, 40, 32), name="cap"),
        ObjectPrompt(((50, 30),), (1,)),
        ObjectPrompt(((20, 20), (30, 30)), (1, 0), name="shoe"),
    )
    masks = photo.segment_objects([click, box, clicks, click])
    assert masks.names == ("object", "cap", "shoe", "object")
    assert masks.objects.tolist() == [0, 1, 2, 3]
    assert masks.predicted_iou.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.9])
    np.testing.assert_array_equal(masks[1].binary, photo.segment(boxes=box.box).binary)
    np.testing.assert_array_equal(masks[3].binary, masks[0].binary)
    np.testing.assert_array_equal(masks.prompts.boxes[1], box.box)
    assert masks.overlay().shape == PHOTO.shape
    three = photo.segment_objects([box, click], multimask=True)
    assert three.objects.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(InputError, match="there is no object"):
        photo.segment_objects([])


def test_objects_have_class_names(photo):
    boxes = [(8, 8, 40, 32), (0, 0, 16, 16)]
    masks = photo.segment(boxes=boxes, names=["shoe", "cap"])
    assert masks.names == ("shoe", "cap")
    assert masks[1].names == ("cap",)
    assert photo.segment(boxes=boxes).names == ("object", "object")
    assert photo.segment(boxes=boxes, names=["a", "b"], multimask=True).names == ("a",) * 3 + ("b",) * 3
    for names, given in ((["shoe"], "1"), ("ab", "one string")):
        with pytest.raises(InputError, match=f"names must be a list of 2 class names, .* not {given}"):
            photo.segment(boxes=boxes, names=names)


def test_a_mask_of_nothing_is_empty(photo):
    masks = photo.segment(boxes=[(8, 8, 40, 32), (1, 1, 1.5, 1.5)])
    assert masks.empty.tolist() == [False, True]


def test_outlines_are_refined_on_demand(engine):
    photo = Segmenter(engine=engine).open(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    plain, refined = (photo.segment(boxes=(8, 8, 40, 32), refine=refine) for refine in (False, True))
    np.testing.assert_array_equal(plain.logits, refined.logits)
    assert (plain.refined().binary == refined.binary).all()


def test_candidates_have_a_short_repr(photo):
    assert (
        repr(photo.candidates(points=[[(20, 20)], [(40, 30)]]))
        == "Candidates(2 × 4 masks of the array, 64 × 48)"
    )


@pytest.mark.parametrize("threads", ["2", 0, 1.5])
def test_threads_are_a_whole_number(threads):
    with pytest.raises(InputError, match=rf"threads is {threads!r}; give a whole number from 1 on, or None"):
        Segmenter(threads=threads)


def test_the_api_is_listed():
    assert dir(pocketsam) == sorted(pocketsam.__all__)
    assert all(hasattr(pocketsam, name) for name in dir(pocketsam))
    assert pocketsam.Photo.__module__ == "pocketsam.segmenter"
    with pytest.raises(AttributeError, match="has no attribute 'Segmentor'"):
        pocketsam.Segmentor  # noqa: B018


def test_logits_can_be_passed_back(engine, photo):
    masks = photo.segment(boxes=[(8, 8, 40, 32), (0, 0, 16, 16)])
    again = photo.segment(points=[[(20, 20)], [(10, 10)]], mask_input=masks.logits)
    of_each = engine.decoded[1:]  # a mask is part of the photo, which is another one then for each object
    np.testing.assert_array_equal([call["mask_input"][0, 0] for call in of_each], masks.logits)
    assert [call["has_mask"].tolist() for call in of_each] == [[1], [1]]
    np.testing.assert_array_equal(again.binary, masks.binary)


def test_a_mask_of_the_photo_can_be_passed_in(photo):
    mask = np.zeros((48, 64), bool)
    mask[8:32, 16:48] = True
    again = photo.segment(mask_input=photo.geometry.mask_to_model(mask))
    np.testing.assert_allclose(again.boxes, [(16, 8, 48, 32)], atol=2)


def test_prompts_are_checked_against_the_photo(photo):
    with pytest.raises(InputError, match="outside the photo of 64 × 48 pixels"):
        photo.segment(points=(10, 48))
    with pytest.raises(InputError, match="no prompt"):
        photo.segment()


def test_results_know_their_photo(engine, samples):
    masks = Segmenter(engine=engine).open(samples / "cap.jpg").segment(points=(200, 200))
    assert masks.file_name == "cap.jpg"
    assert masks.image.shape == (534, 400, 3)
    assert masks.binary.shape == (1, 534, 400)


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3)])
def test_extreme_photos_work(engine, size):
    photo = Segmenter(engine=engine).open(np.zeros((*size, 3), np.uint8))
    masks = photo.segment(points=(0, 0), boxes=(0, 0, size[1], size[0]))
    assert masks.binary.shape == (1, *size)
    assert masks.overlay().shape == (*size, 3)


def test_the_rule_for_one_mask_an_object():
    predicted_iou = np.array([[0.9, 0.1, 0.2, 0.3], [0.9, 0.1, 0.8, 0.3], [0.0, 0.5, 0.4, 0.3]], np.float32)
    ambiguous = np.array([True, True, False])
    assert choose(predicted_iou, ambiguous, ModelConfig("m")).tolist() == [3, 2, 0]
    all_four = ModelConfig("m", click_masks=(0, 1, 2, 3))
    assert choose(predicted_iou, ambiguous, all_four).tolist() == [0, 0, 0]
    assert rank(predicted_iou, (1, 2, 3)).tolist() == [[3, 2, 1], [2, 3, 1], [1, 2, 3]]
    assert rank(predicted_iou, (0, 1, 2, 3)).tolist() == [[0, 3, 2], [0, 2, 3], [1, 2, 3]]


def test_how_to_run_a_model_is_passed_on():
    with pytest.raises(ModelError, match="the onnx engine computes in float32 or int8; for bfloat16 use"):
        Segmenter("pocket", "onnx", precision="bf16")
    with pytest.raises(ModelError, match="the onnx engine runs on the CPU; for cuda use torch"):
        Segmenter("pocket", "onnx", device="cuda")
    with pytest.raises(ModelError, match="the onnx engine needs no compiling"):
        Segmenter("pocket", "onnx", compile=True)


def test_the_model_in_the_package_answers_every_kind_of_prompt(samples):
    photo = Segmenter(threads=2).open(samples / "sneakers.jpg")
    side = photo.geometry.low_resolution
    boxes = [(20, 130, 342, 371), (195, 0, 413, 193)]
    both = photo.segment(boxes=boxes)
    assert both.logits.shape == (2, side, side)
    assert both.binary.shape == (2, 400, 429)
    alone = photo.segment(boxes=boxes[1])
    np.testing.assert_allclose(alone.logits[0], both.logits[1], rtol=1e-3, atol=1e-3)
    assert len(photo.segment(points=(180, 250), multimask=True)) == 3
    refined = photo.segment(points=[[(180, 250)], [(300, 100)]], mask_input=both.logits)
    assert np.isfinite(refined.predicted_iou).all()
