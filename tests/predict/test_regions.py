import numpy as np

from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.regions import clean_logits, fill_small_holes, remove_small_islands


def test_small_holes_are_filled_and_large_ones_stay():
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[4, 4] = mask[5, 5] = False  # one hole: corners connect
    mask[10:14, 10:14] = False
    filled, changed = fill_small_holes(mask, 3)
    assert changed
    assert filled[4, 4]
    assert not filled[10:14, 10:14].any()
    assert fill_small_holes(mask, 2)[1] is False
    assert fill_small_holes(mask, 17)[0][11, 11]


def test_small_islands_go_but_the_largest_stays():
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10:12, 10:12] = True
    cleaned, changed = remove_small_islands(mask, 5)
    assert changed
    assert cleaned.sum() == 16
    cleaned, changed = remove_small_islands(mask, 100)
    assert changed
    assert cleaned.sum() == 16
    assert remove_small_islands(mask, 4)[1] is False
    assert remove_small_islands(np.zeros((4, 4), bool), 4)[1] is False


def speckled() -> np.ndarray:
    """Logits with a square of 64 cells, a hole of one cell in it, and an island of two cells beside it."""
    logits = np.full((16, 16), -3, np.float32)
    logits[2:10, 2:10] = 3
    logits[5, 5] = -2
    logits[13, 12:14] = 1
    return logits


def test_logits_change_their_sign_in_small_regions_and_nowhere_else():
    logits = speckled()
    cleaned = clean_logits(logits, 3)
    changed = cleaned != logits
    assert np.argwhere(changed).tolist() == [[5, 5], [13, 12], [13, 13]]
    assert (cleaned[changed] == -logits[changed]).all()
    assert (logits == speckled()).all()
    assert np.argwhere(clean_logits(logits, 2) != logits).tolist() == [[5, 5]]
    assert clean_logits(logits, 0) is logits
    nothing = np.full((4, 4), -1, np.float32)
    assert (clean_logits(nothing, 100) == nothing).all()


def test_masks_are_without_small_regions_and_logits_keep_them():
    geometry = Geometry(64, 64, 64)
    logits, iou = speckled()[None], np.ones(1, np.float32)
    plain = Masks(logits, iou, geometry)
    cleaned = Masks(logits, iou, geometry, smallest_region=4)
    assert not plain.binary[0, 22, 22]
    assert plain.binary[0, 54, 52]
    assert cleaned.binary[0, 22, 22]
    assert not cleaned.binary[0, 54, 52]
    assert (cleaned.logits == logits).all()
    assert cleaned[:1].areas.tolist() == cleaned.named(["a"]).areas.tolist() == [int(cleaned.binary.sum())]
