import json
from pathlib import Path

import numpy as np
import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.errors import DataError
from shards import annotation_file, blocks, jpeg, paint, write_shard, write_tar

ONE, TWO = blocks((2, 2, 20, 20), (30, 5, 50, 30)), blocks((0, 0, 60, 10))


def read(path: Path) -> list[Sample]:
    """All samples of a shard or folder."""
    shards = Shards(path)
    return [shards.read(i) for i in range(len(shards))]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path / "a.tar", {"one": ONE, "two": TWO, "three": TWO})


def test_a_shard_gives_its_photos_and_masks(shard: Path) -> None:
    samples = read(shard)
    assert [s.name for s in samples] == ["one", "two", "three"]
    assert samples[0].source == "drawn"
    np.testing.assert_array_equal(samples[0].masks(), ONE)
    np.testing.assert_array_equal(samples[0].masks([1]), ONE[1:])
    assert np.abs(samples[0].image.astype(int) - paint(ONE)).max() < 25  # JPEG rings at hard edges


def test_a_folder_reads_like_a_shard(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(paint(ONE)))
    (tmp_path / "x.json").write_bytes(annotation_file("x", ONE, "folder"))
    (tmp_path / "unlabelled.jpg").write_bytes(jpeg(paint(TWO)))
    (sample,) = read(tmp_path)
    assert (sample.name, sample.source) == ("x", "folder")
    np.testing.assert_array_equal(sample.masks(), ONE)
    both = Shards(tmp_path, labelled=False)
    assert [both.read(i).masks().shape[0] for i in range(2)] == [0, 2]


def test_uncompressed_masks_are_read(tmp_path: Path) -> None:
    rle = {"size": [4, 3], "counts": [5, 2, 5]}
    document = {"image": {}, "annotations": [{"id": 1, "segmentation": rle}]}
    files = [("x.jpg", jpeg(np.zeros((4, 3, 3), np.uint8))), ("x.json", json.dumps(document).encode())]
    (sample,) = read(write_tar(tmp_path / "x.tar", files))
    assert sample.masks()[0].T.ravel().tolist() == [False] * 5 + [True] * 2 + [False] * 5


PHOTO, MASKS = jpeg(paint(ONE)), annotation_file("bad", ONE, "drawn")
NO_MASK = json.dumps({"annotations": [{"id": 7}]}).encode()
BROKEN = {
    "the photo is no image": (b"text", MASKS, "photo cannot be decoded"),
    "the photo is empty": (b"", MASKS, "photo cannot be decoded"),
    "the json is cut off": (PHOTO, MASKS[:50], "json cannot be read"),
    "the json is a list": (PHOTO, b"[]", "not an object"),
    "the annotations are null": (PHOTO, b'{"annotations": null}', "SA-1B's layout"),
    "the image is null": (PHOTO, b'{"image": null}', "SA-1B's layout"),
    "an id is text": (PHOTO, b'{"annotations": [{"id": "x"}]}', "SA-1B's layout"),
    "a mask has no size": (PHOTO, b'{"annotations": [{"segmentation": {"counts": "a"}}]}', "of size None"),
    "the photo is cut off": (jpeg(np.zeros((900, 900, 3), np.uint8))[:200], MASKS, "photo cannot be decoded"),
    "an annotation has no mask": (PHOTO, NO_MASK, "annotation 7 has no RLE"),
    "a mask has another size": (PHOTO, annotation_file("bad", blocks(size=(9, 9)), ""), None),
    "a mask is of another photo": (
        PHOTO,
        annotation_file("bad", blocks((0, 0, 2, 2), size=(9, 9)), ""),
        "the photo",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_sample_is_named(case: str, tmp_path: Path) -> None:
    photo, document, message = BROKEN[case]
    shard = write_tar(tmp_path / "s.tar", [("bad.jpg", photo), ("bad.json", document)])
    if message is None:  # no annotation, nothing to disagree about
        assert read(shard)[0].rles == []
        return
    with pytest.raises(DataError, match=message) as error:
        read(shard)[0].complete()
    assert "s.tar: bad" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("counts", [[5, 200], [5, 2], "52", "P"])
def test_a_damaged_mask_is_left_out_and_named_while_the_others_are_kept(
    counts: object, tmp_path: Path
) -> None:
    good, bad = {"size": [4, 3], "counts": [5, 2, 5]}, {"size": [4, 3], "counts": counts}
    annotations = [{"id": id, "segmentation": rle} for id, rle in ((7, bad), (8, good), (9, bad))]
    document = json.dumps({"annotations": annotations}).encode()
    files = [("x.jpg", jpeg(np.zeros((4, 3, 3), np.uint8))), ("x.json", document)]
    (sample,) = read(write_tar(tmp_path / "x.tar", files))
    assert sample.ids == [8]
    assert sample.masks().sum() == 2
    assert [line.split(" has a damaged mask")[0] for line in sample.left_out] == [
        f"{tmp_path / 'x.tar'}: x: annotation {id}" for id in (7, 9)
    ]
    with pytest.raises(DataError, match="annotation 7 has a damaged mask"):
        sample.complete()


def test_broken_shards_are_named(tmp_path: Path, shard: Path) -> None:
    empty = tmp_path / "empty.tar"
    empty.write_bytes(b"")
    text = tmp_path / "text.tar"
    text.write_text("no tar " * 200)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(shard.read_bytes()[:3000])
    for path in (tmp_path / "missing.tar", empty, text):
        with pytest.raises(DataError, match=path.name):
            Shards(path)
    with pytest.raises(DataError, match=r"cut\.tar"):
        read(cut)
