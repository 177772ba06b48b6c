from pathlib import Path

import numpy as np
import pytest

from pocketsam.data.sample import Sample, find_files, read_photo
from pocketsam.errors import DataError
from pocketsam.utils.rle import encode
from shards import blocks, jpeg, paint

MASKS = blocks((2, 2, 20, 20), (0, 0, 0, 0), (30, 5, 50, 30))
RLES = [encode(mask) for mask in MASKS]
DAMAGED = {"size": [40, 60], "counts": RLES[0]["counts"][:-1]}


def sample(rles: list[dict], left_out: tuple[str, ...] = ()) -> Sample:
    return Sample(
        "x", paint(MASKS), rles, list(range(10, 10 + len(rles))), location="s.tar: x", left_out=left_out
    )


def test_masks_come_one_by_one_some_or_all() -> None:
    one = sample(RLES)
    np.testing.assert_array_equal(one.mask(2), MASKS[2])
    np.testing.assert_array_equal(one.masks(), MASKS)
    np.testing.assert_array_equal(one.masks([2, 0]), MASKS[[2, 0]])
    np.testing.assert_array_equal(list(one.each_mask()), MASKS)
    assert one.masks([]).shape == sample([]).masks().shape == (0, 40, 60)


def test_what_cannot_be_prompted_is_left_out_and_named() -> None:
    found = sample([*RLES, DAMAGED], ("s.tar: x: annotation 9 is a crowd",)).promptable()
    assert found.ids == [10, 12]
    np.testing.assert_array_equal(found.masks(), MASKS[[0, 2]])
    first, empty, damaged = found.left_out
    assert first == "s.tar: x: annotation 9 is a crowd"
    assert empty == "s.tar: x: annotation 11 has no pixels"
    assert damaged.startswith("s.tar: x: annotation 13 has a damaged mask")


def test_a_sample_is_complete_when_nothing_was_left_out() -> None:
    assert sample(RLES).complete().ids == [10, 11, 12]
    with pytest.raises(DataError, match="is a crowd"):
        sample(RLES, ("s.tar: x: annotation 9 is a crowd", "another")).complete()


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "whole.jpg").write_bytes(jpeg(paint(MASKS)))
    assert read_photo(tmp_path / "whole.jpg").shape == (40, 60, 3)
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(DataError, match=r"text\.jpg: cannot be decoded"):
        read_photo(tmp_path / "text.jpg")
    with pytest.raises(DataError, match=r"none\.jpg: cannot be read \(No such file"):
        read_photo(tmp_path / "none.jpg")


def test_files_are_found_by_their_ending_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "._b.png", "a.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path, (".png",))] == ["a.PNG", "b.png"]
    assert find_files(tmp_path / "none", (".png",)) == []
