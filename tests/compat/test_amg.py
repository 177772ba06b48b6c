"""The functions of everything mode that programs call by themselves."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from pocketsam.compat.utils import amg

MASKS = torch.zeros(3, 5, 7, dtype=torch.bool)
MASKS[0, 1:4, 2:6] = True
MASKS[1, 0, 0] = MASKS[1, 4, 6] = True


def test_run_lengths_there_and_back():
    rles = amg.mask_to_rle_pytorch(MASKS)
    for rle, mask in zip(rles, MASKS.numpy(), strict=True):
        np.testing.assert_array_equal(amg.rle_to_mask(rle), mask)
        assert amg.area_from_rle(rle) == mask.sum()
        assert sum(rle["counts"]) == 35
        encoded = amg.coco_encode_rle(rle)
        np.testing.assert_array_equal(coco.decode(encoded), mask)
        assert type(encoded["counts"]) is str
    assert rles[1]["counts"][0] == 0, "the first run is one of background"
    assert rles[2]["counts"] == [35]


def test_boxes_of_masks():
    assert amg.batched_mask_to_box(MASKS).tolist() == [[2, 1, 5, 3], [0, 0, 6, 4], [0, 0, 0, 0]]
    assert amg.batched_mask_to_box(MASKS[0]).tolist() == [2, 1, 5, 3]
    assert amg.batched_mask_to_box(MASKS[None]).shape == (1, 3, 4)
    assert amg.batched_mask_to_box(MASKS[:0]).shape == (0, 4)
    assert amg.box_xyxy_to_xywh(torch.tensor([2, 1, 5, 3])).tolist() == [2, 1, 3, 2]


def test_stability():
    logits = torch.tensor([[[3.0, 0.5, -0.5, -3]]])
    assert amg.calculate_stability_score(logits, 0.0, 1.0).tolist() == pytest.approx([1 / 3])
    assert amg.calculate_stability_score(logits, 2.0, 0.5).tolist() == [1]


def test_crops():
    boxes, layers = amg.generate_crop_boxes((60, 100), 1, 0.25)
    assert boxes == [[0, 0, 100, 60], [0, 0, 58, 38], [0, 23, 58, 60], [43, 0, 100, 38], [43, 23, 100, 60]]
    assert layers == [0, 1, 1, 1, 1]
    assert [len(grid) for grid in amg.build_all_layer_point_grids(8, 2, 2)] == [64, 16, 4]
    np.testing.assert_allclose(
        amg.build_point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    )
    assert amg.uncrop_boxes_xyxy(torch.tensor([[1, 2, 3, 4]]), [10, 20, 30, 40]).tolist() == [
        [11, 22, 13, 24]
    ]
    assert amg.uncrop_points(torch.tensor([[[1.5, 2]]]), [10, 20, 30, 40]).tolist() == [[[11.5, 22]]]
    whole = amg.uncrop_masks(MASKS, [1, 2, 8, 7], 10, 12)
    assert whole.shape == (3, 10, 12)
    assert torch.equal(whole[:, 2:7, 1:8], MASKS)
    near = amg.is_box_near_crop_edge(
        torch.tensor([[30, 30, 50, 50], [5, 30, 50, 50]]), [100, 0, 200, 200], [0, 0, 400, 200]
    )
    assert near.tolist() == [False, True]


def test_small_regions():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12], mask[5, 5], mask[18, 18] = True, False, True
    filled, changed = amg.remove_small_regions(mask, 4, "holes")
    assert changed
    assert filled[5, 5] and filled[18, 18]
    alone, changed = amg.remove_small_regions(filled, 4, "islands")
    assert changed
    assert not alone[18, 18]
    assert not amg.remove_small_regions(alone, 4, "islands")[1]
    with pytest.raises(AssertionError, match="'holes' or 'islands'"):
        amg.remove_small_regions(mask, 4, "dust")


def test_mask_data():
    data = amg.MaskData(boxes=torch.arange(3), names=["a", "b", "c"], scores=np.arange(3.0))
    other = amg.MaskData()
    other.cat(data)
    data.filter(torch.tensor([True, False, True]))
    assert data["names"] == ["a", "c"]
    assert data["boxes"].tolist() == data["scores"].tolist() == [0, 2]
    data.cat(other)
    data.filter(torch.tensor([4, 0]))
    assert data["names"] == ["c", "a"]
    assert data["boxes"].tolist() == [2, 0]
    data.to_numpy()
    assert isinstance(data["boxes"], np.ndarray)
    del data["names"]
    assert {name for name, _ in data.items()} == {"boxes", "scores"}
    with pytest.raises(AssertionError, match="give a list"):
        data["names"] = "abc"


def test_batches():
    assert list(amg.batch_iterator(2, [1, 2, 3], "abc")) == [[[1, 2], "ab"], [[3], "c"]]
    with pytest.raises(AssertionError, match="same length"):
        list(amg.batch_iterator(2, [1, 2, 3], "ab"))
