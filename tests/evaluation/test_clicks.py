"""The protocol measured on predictors whose score is known: one that is always right, one that is never."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pocketsam.data.sa1b import DataError, read
from pocketsam.evaluation.clicks import PROMPTS, draw_clicks, evaluate, tightest_box
from shards import STEP, annotation_file, blocks, jpeg, paint, write_shard, write_tar


def answers(binaries):
    """Masks as the protocol sees them: each has `binary` (1, H, W)."""
    return [SimpleNamespace(binary=binary[None]) for binary in binaries]


class PerfectSegmenter:
    """Reads the answer off a drawn photo: all pixels of the grey that the prompt is on."""

    def __init__(self):
        self.opened = 0
        self.calls = []

    def open(self, image):
        self.opened += 1
        self.objects = np.rint(image[..., 0] / STEP).astype(int)
        return self

    def segment(self, points=None, boxes=None):
        self.calls.append((points, boxes))
        if boxes is not None:
            return answers(self.objects == self.grey_in_box(box) for box in boxes)
        greys = [{self.objects[y, x] for x, y in clicks} for clicks in points]
        assert all(len(grey) == 1 for grey in greys), "a click left its object"
        return answers(self.objects == grey.pop() for grey in greys)

    def grey_in_box(self, box):
        fitting = [
            grey for grey in np.unique(self.objects) if (tightest_box(self.objects == grey) == box).all()
        ]
        assert len(fitting) == 1, f"{box} is not one object's box"
        return fitting[0]


class ConstantSegmenter:
    """Answers every prompt with a mask of nothing, or of the whole photo."""

    def __init__(self, inside):
        self.inside = inside

    def open(self, image):
        self.shape = image.shape[:2]
        return self

    def segment(self, points=None, boxes=None):
        return answers(np.full(self.shape, self.inside) for _ in (points if boxes is None else boxes))


@pytest.fixture
def shard(tmp_path):
    photos = {
        "first": blocks((2, 3, 20, 30), (30, 5, 31, 6), (40, 20, 60, 40)),
        "second": blocks((10, 10, 50, 30)),
    }
    return write_shard(tmp_path / "drawn.tar", photos)


def test_perfect_predictor_scores_one_and_encodes_each_photo_once(shard):
    segmenter = PerfectSegmenter()
    result = evaluate(segmenter, read([shard]))
    assert result.overall.mean_iou == dict.fromkeys(PROMPTS, 1.0)
    assert (result.overall.photos, result.overall.masks) == (2, 4)
    assert segmenter.opened == 2
    assert len(segmenter.calls) == 2 * len(PROMPTS), "all masks of a photo belong in one call a prompt kind"


def test_empty_predictor_scores_zero(shard):
    assert evaluate(ConstantSegmenter(False), read([shard])).overall.mean_iou == dict.fromkeys(PROMPTS, 0.0)


def test_iou_is_intersection_over_union_averaged_over_masks_not_photos(shard):
    areas = np.array([18 * 27, 1, 20 * 20, 40 * 20])
    expected = (areas / (40 * 60)).mean()
    means = evaluate(ConstantSegmenter(True), read([shard])).overall.mean_iou
    assert means == pytest.approx(dict.fromkeys(PROMPTS, expected))


def test_prompts_have_the_shapes_the_protocol_asks_for(shard):
    segmenter = PerfectSegmenter()
    evaluate(segmenter, read([shard]))
    (_, boxes), (one, _), (three, _) = segmenter.calls[:3]
    assert boxes.tolist()[0] == [2, 3, 20, 30]
    assert one.shape == (3, 1, 2)
    assert three.shape == (3, 3, 2)
    assert (one[:, 0] == three[:, 0]).all()


def test_masks_without_pixels_are_counted_and_skipped(tmp_path):
    photos = {"half": blocks((2, 3, 20, 30), (5, 5, 5, 5)), "none": blocks((0, 0, 0, 0))}
    segmenter = PerfectSegmenter()
    result = evaluate(segmenter, read([write_shard(tmp_path / "empty.tar", photos)]))
    assert (result.overall.photos, result.overall.masks, result.overall.empty) == (2, 1, 2)
    assert result.overall.mean_iou == dict.fromkeys(PROMPTS, 1.0)
    assert segmenter.opened == 1, "a photo with nothing to prompt need not be encoded"


def test_clicks_of_a_mask_depend_on_neither_its_neighbours_nor_the_order(tmp_path):
    photos = {"a": blocks((2, 3, 20, 30)), "b": blocks((5, 5, 5, 5), (10, 10, 50, 30))}
    there = PerfectSegmenter()
    back = PerfectSegmenter()
    evaluate(there, read([write_shard(tmp_path / "there.tar", photos)]))
    evaluate(back, read([write_shard(tmp_path / "back.tar", dict(reversed(photos.items())))]))
    assert (there.calls[2][0] == back.calls[5][0]).all()
    assert (there.calls[5][0] == back.calls[2][0]).all()


def test_clicks_change_with_seed_photo_and_annotation_only():
    mask = np.ones((50, 70), bool)
    clicks = draw_clicks(mask, 3, seed=0, name="photo", annotation=0)
    assert (clicks == draw_clicks(mask, 3, seed=0, name="photo", annotation=0)).all()
    assert (clicks[:1] == draw_clicks(mask, 1, seed=0, name="photo", annotation=0)).all()
    others = [(1, "photo", 0), (0, "other", 0), (0, "photo", 1)]
    assert all((clicks != draw_clicks(mask, 3, *other)).any() for other in others)


def test_clicks_are_uniform_over_the_mask():
    mask = blocks((0, 0, 4, 2), size=(5, 6))[0]
    mask[4, 5] = True
    clicks = draw_clicks(mask, 9000, seed=0, name="photo", annotation=0)
    counts = np.zeros(mask.shape, int)
    np.add.at(counts, (clicks[:, 1], clicks[:, 0]), 1)
    assert (counts[~mask] == 0).all()
    assert counts[mask] == pytest.approx(1000, abs=120)


def test_tightest_box_of_one_pixel_is_that_pixel():
    assert tightest_box(blocks((7, 4, 8, 5))[0]).tolist() == [7, 4, 8, 5]


def test_table_and_dict_have_a_line_a_source_and_one_for_all(tmp_path):
    shards = [
        write_shard(tmp_path / "a.tar", {"a": blocks((2, 3, 20, 30))}, source="circles"),
        write_shard(tmp_path / "b.tar", {"b": blocks((2, 3, 20, 30), (5, 5, 5, 5))}, source="squares"),
    ]
    result = evaluate(PerfectSegmenter(), read(shards))
    assert result.table().row_count == 3
    assert list(result.table().columns[0].cells) == ["circles", "squares", "all"]
    record = json.loads(json.dumps(result.to_dict()))
    assert record["sources"]["squares"] == {
        "photos": 1,
        "masks": 1,
        "empty_masks": 1,
        "mean_iou": {"box": 1.0, "1 click": 1.0, "3 clicks": 1.0},
    }
    assert record["masks"] == 2


def test_after_photo_sees_the_running_result(shard):
    seen = []
    evaluate(PerfectSegmenter(), read([shard]), after_photo=lambda result: seen.append(result.overall.masks))
    assert seen == [3, 4]


def test_broken_sample_is_named(tmp_path):
    masks = blocks((2, 3, 20, 30))
    files = [("cut.jpg", jpeg(paint(masks))[:200]), ("cut.json", annotation_file("cut", masks, "drawn"))]
    with pytest.raises(DataError, match=r"broken\.tar: cut"):
        evaluate(PerfectSegmenter(), read([write_tar(tmp_path / "broken.tar", files)]))
