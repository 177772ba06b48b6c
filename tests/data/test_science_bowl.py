import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketsam.data.science_bowl import ScienceBowl
from pocketsam.errors import DataError
from shards import blocks, paint

MASKS = blocks((2, 2, 20, 20), (30, 5, 60, 40), (0, 0, 0, 0))


def write(root: Path, name: str, masks: np.ndarray = MASKS) -> Path:
    """A photo with transparency, as the originals have it, and its masks 0.png, 1.png, …"""
    folder = root / name
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(paint(MASKS)).convert("RGBA").save(folder / "images" / f"{name}.png")
    for number, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(folder / "masks" / f"{number}.png")
    return folder


def test_photos_and_masks_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "b")
    write(tmp_path, "a", MASKS[:1])
    (tmp_path / "without" / "images").mkdir(parents=True)
    data = pickle.loads(pickle.dumps(ScienceBowl(tmp_path)))
    a, b = (data.read(i) for i in range(len(data)))
    assert (a.name, b.name) == ("a", "b")
    assert b.ids == [0, 1, 2]
    np.testing.assert_array_equal(b.masks(), MASKS)
    np.testing.assert_array_equal(b.image, paint(MASKS))


def test_a_mask_that_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    masks = write(tmp_path, "a") / "masks"
    (masks / "0.png").write_bytes(b"text")
    Image.fromarray(MASKS[1][:30]).save(masks / "2.png")
    (masks / "._1.png").touch()
    sample = ScienceBowl(tmp_path).read(0)
    assert sample.ids == [1]
    np.testing.assert_array_equal(sample.masks(), MASKS[1:2])
    broken, size = sample.left_out
    assert broken.startswith(f"{masks / '0.png'}: cannot be decoded")
    assert size == f"{masks / '2.png'}: the mask is 60 × 30 pixels, but its photo 60 × 40"


def test_a_missing_photo_and_a_folder_without_any_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder ID"):
        ScienceBowl(tmp_path)
    (write(tmp_path, "a") / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: cannot be read"):
        ScienceBowl(tmp_path).read(0)
