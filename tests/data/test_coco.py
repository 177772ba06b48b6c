import json
import pickle
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pocketsam.data.coco import CocoSet, write_coco
from pocketsam.data.sa1b import Shards
from pocketsam.errors import DataError
from pocketsam.utils.rle import decode, encode, run_lengths
from shards import blocks, jpeg, paint, write_shard

SIZE = (40, 60)
MASKS = blocks((2, 2, 20, 20), (30, 5, 50, 30), size=SIZE)
SQUARE = [[2, 2, 20, 2, 20, 20, 2, 20]]  # mask 0
PHOTO = jpeg(paint(MASKS))
RLE = encode(MASKS[1])
RUNS = {"size": list(SIZE), "counts": run_lengths(RLE["counts"].encode()).tolist()}


def image(id: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "file_name": name, "height": SIZE[0], "width": SIZE[1], **more}


def annotation(id: int, image: int, segmentation: Any = SQUARE, **more: Any) -> dict[str, Any]:
    return {"id": id, "image_id": image, "category_id": 3, "segmentation": segmentation, **more}


def write(
    path: Path, images: list[Any], annotations: list[Any], categories: Any = ({"id": 3, "name": "cat"},)
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": list(categories)}
    path.write_text(json.dumps(document))
    return path


def put(path: Path, content: bytes = PHOTO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A set of one photo, a.jpg beside the JSON."""
    put(tmp_path / "a.jpg")
    return write(tmp_path / "set.json", [image(1, "a.jpg")], [annotation(5, 1)])


def test_polygons_and_both_kinds_of_run_lengths_are_read_in_the_order_of_image_ids(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        put(tmp_path / name)
    annotations = [annotation(7, 4, RLE), annotation(9, 4), annotation(8, 4, RUNS)]
    path = write(tmp_path / "set.json", [image(8, "a.jpg"), image(4, "b.jpg")], annotations)
    data = pickle.loads(pickle.dumps(CocoSet(path)))
    assert (len(data), data.image_ids, data.lvis, data.path) == (2, [4, 8], False, path)
    assert data.categories == [{"id": 3, "name": "cat"}]
    b, a = data.read(0), data.read(1)
    assert (a.name, a.ids, b.name, b.ids, b.left_out, b.source) == ("a", [], "b", [7, 9, 8], (), "")
    np.testing.assert_array_equal(b.masks(), MASKS[[1, 0, 1]])
    assert np.abs(b.image.astype(int) - paint(MASKS)).max() < 25


@pytest.mark.parametrize(
    "place",
    [
        "{0}/a.jpg",
        "{0}/images/a.jpg",
        "{0}/../val2017/a.jpg",
        "{0}/../images/val2017/a.jpg",
        "{0}/val2017/a.jpg",
    ],
)
def test_photos_are_found_where_coco_has_them(place: str, tmp_path: Path) -> None:
    path = write(tmp_path / "annotations" / "instances_val2017.json", [image(1, "a.jpg")], [])
    put(Path(place.format(path.parent)))
    assert CocoSet(path).read(0).name == "a"


def test_relative_paths_find_their_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "annotations" / "instances_val2017.json", [image(1, "a.jpg")], [])
    put(tmp_path / "val2017" / "a.jpg")
    monkeypatch.chdir(tmp_path / "annotations")
    assert CocoSet("instances_val2017.json").read(0).name == "a"


def test_given_photos_are_the_only_ones(one: Path, tmp_path: Path) -> None:
    put(tmp_path / "else" / "a.jpg", jpeg(255 - paint(MASKS)))
    assert CocoSet(one, tmp_path / "else").read(0).image[0, 0, 0] > 200
    (tmp_path / "else" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"photo a\.jpg is missing; looked for .*else/a\.jpg;"):
        CocoSet(one, tmp_path / "else").read(0)
    with pytest.raises(DataError, match="none: no such folder"):
        CocoSet(one, tmp_path / "none")


@pytest.mark.parametrize("place", ["val2017/000000000009.jpg", "000000000009.jpg"])
def test_lvis_names_photos_by_their_address(place: str, tmp_path: Path) -> None:
    photo = image(9, "", coco_url="http://images.cocodataset.org/val2017/000000000009.jpg")
    del photo["file_name"]
    photo |= {"neg_category_ids": [2], "not_exhaustive_category_ids": [3]}
    put(tmp_path / "photos" / place)
    data = CocoSet(write(tmp_path / "lvis.json", [photo], [annotation(1, 9)]), tmp_path / "photos")
    assert data.lvis
    assert data.read(0).name == "val2017/000000000009"
    assert data.truth([0])[0]["images"] == [photo]


def test_names_are_unique(tmp_path: Path) -> None:
    files = ["a.jpg", "a.png", "x/a.jpg", "y\\a.jpg"]
    data = CocoSet(write(tmp_path / "set.json", [image(10 + i, file) for i, file in enumerate(files)], []))
    assert data.names == ["a#10", "a#11", "x/a", "y/a"]


def test_what_is_no_object_is_left_out_and_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    bad = {
        "is a crowd": annotation(1, 1, RUNS, iscrowd=1),
        "has no RLE mask": {"id": 2, "image_id": 1},
        "3 or more pairs": annotation(3, 1, [[1, 1, 5, 5]]),
        "list of numbers": annotation(4, 1, [["x"] * 6]),
        "of size": annotation(5, 1, {**RLE, "size": [9, 9]}),
        "damaged mask": annotation(6, 1, {**RLE, "counts": RLE["counts"][:-2]}),
    }
    stray = annotation(7, 99)
    path = write(tmp_path / "set.json", [image(1, "a.jpg")], [*bad.values(), annotation(8, 1), stray])
    sample = CocoSet(path).read(0)
    assert sample.ids == [8]
    first, *others = sample.left_out
    assert first == f"{path}: annotation 7 is of image 99, which is not in the file"
    for line, (reason, entry) in zip(others, bad.items(), strict=True):
        assert line.startswith(f"{path}: a: annotation {entry['id']} ")
        assert reason in line


def test_a_broken_photo_or_one_of_another_size_is_named(one: Path) -> None:
    photo = put(one.parent / "a.jpg", jpeg(paint(MASKS[:, :30])))
    with pytest.raises(DataError, match=r"a\.jpg: is 60 × 30 pixels, but 60 × 40 in .*set\.json"):
        CocoSet(one).read(0)
    photo.write_bytes(PHOTO[:200])
    with pytest.raises(DataError, match=r"a\.jpg: cannot be decoded"):
        CocoSet(one).read(0)
    photo.unlink()
    with pytest.raises(
        DataError, match=r"set\.json: the photo a\.jpg is missing; looked for .*images/a\.jpg"
    ):
        CocoSet(one).read(0)


@pytest.mark.parametrize(
    "name", ["../a.jpg", "x/../../a.jpg", "..\\a.jpg", "/a.jpg", "C:\\a.jpg", "C:a.jpg", "", "a\0.jpg"]
)
def test_a_file_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    path = write(tmp_path / "in" / "set.json", [image(1, name)], [])
    with pytest.raises(DataError, match=r"set\.json: image 1: the file name") as error:
        CocoSet(path)
    assert "\n" not in str(error.value)


def broken() -> Iterator[tuple[Any, str]]:
    whole = {"images": [image(1, "a.jpg")], "annotations": [annotation(5, 1)], "categories": [{"id": 3}]}
    for key in whole:
        yield {**whole, key: None}, f"no list `{key}`"
        yield {**whole, key: [7]}, f"`{key}` holds something else"
    yield {"annotations": []}, "no list `images` and no list `categories`"
    yield [whole], "an object with images, annotations, categories"
    yield json.dumps(whole)[:-9], "not whole"
    yield {**whole, "images": []}, "has no images"
    yield {**whole, "images": 2 * whole["images"]}, "image id 1 twice"
    yield {**whole, "annotations": 2 * whole["annotations"]}, "annotation id 5 twice"
    yield {**whole, "annotations": [{"id": "x"}]}, "annotation number 0 has no `id`"
    yield {**whole, "images": [{**image(1, "a"), "width": None}]}, "image 1 has no `width`"
    yield {**whole, "images": [{**image(1, "a"), "height": 0}]}, "image 1 has no `height`"
    yield {**whole, "images": [{"id": 1, "width": 3, "height": 3}]}, "neither `file_name` nor `coco_url`"


@pytest.mark.parametrize(("document", "message"), list(broken()))
def test_a_json_that_is_not_cocos_is_refused_in_one_line(document: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(DataError, match=message) as error:
        CocoSet(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read \(No such file"):
        CocoSet(tmp_path / "none.json")


def test_the_truth_is_the_part_that_was_measured_with_its_crowds(tmp_path: Path) -> None:
    annotations = [
        annotation(1, 1, area=300.5, bbox=[2, 2, 18, 18]),
        annotation(2, 1, RUNS, iscrowd=1, area=None),
        annotation(3, 1, [[50, 50, 55, 50, 55, 55]]),  # below the photo
        annotation(4, 1, [[1, 1]]),
        {**annotation(5, 1), "category_id": 77},
        annotation(6, 2),
        annotation(7, 99),
    ]
    images = [image(1, "a.jpg"), image(2, "b.jpg")]
    path = write(tmp_path / "set.json", images, annotations)  # and no photo
    document, left_out = CocoSet(path).truth([0])
    assert document["images"] == images[:1]
    assert document["categories"] == [{"id": 3, "name": "cat"}]
    one, crowd = document["annotations"]
    assert (one["id"], one["area"], one["bbox"], one["iscrowd"]) == (1, 300.5, [2, 2, 18, 18], 0)
    np.testing.assert_array_equal(decode(one["segmentation"]), MASKS[0])
    assert (crowd["id"], crowd["iscrowd"], crowd["area"], crowd["bbox"]) == (2, 1, 500, [30, 5, 20, 25])
    reasons = ["annotation 7 is of image 99", "3 has no pixels", "4 has a polygon", "5 is of category 77"]
    assert len(left_out) == len(reasons)
    assert all(reason in line and str(path) in line for reason, line in zip(reasons, left_out, strict=True))
    assert [entry["id"] for entry in CocoSet(path).truth([1])[0]["annotations"]] == [6]
    json.dumps(document)


def test_the_truth_has_the_ids_of_the_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "set.json", [image(1, "a.jpg")], [annotation(0, 1), annotation(-5, 1)])
    assert [entry["id"] for entry in CocoSet(path).truth([0])[0]["annotations"]] == [0, -5]


@pytest.mark.parametrize("area", [0, -1, "300", None, float("inf")])
def test_an_area_that_is_none_is_measured(tmp_path: Path, area: object) -> None:
    path = write(tmp_path / "set.json", [image(1, "a.jpg")], [annotation(1, 1, area=area)])
    assert CocoSet(path).truth([0])[0]["annotations"][0]["area"] == 324


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    shards = Shards(write_shard(tmp_path / "s.tar", {"x": MASKS, "sub/y": MASKS[:1], "z": MASKS[1:]}))
    path = write_coco(shards, tmp_path / "set")
    assert path == tmp_path / "set" / "instances.json"
    data = CocoSet(path)
    for i in range(3):
        given, read = shards.read(i), data.read(i)
        assert (read.name, read.left_out) == (given.name, ())
        np.testing.assert_array_equal(read.image, given.image)
        np.testing.assert_array_equal(read.masks(), given.masks())
    truth, _ = data.truth(range(3))
    assert [entry["id"] for entry in truth["annotations"]] == [1, 2, 3, 4]
    assert truth["annotations"][1]["bbox"] == [30, 5, 20, 25]
    assert truth["annotations"][1]["area"] == 500
    chosen = CocoSet(write_coco(shards, tmp_path / "part", photos=[2]))
    assert (chosen.names, chosen.image_ids) == (["z"], [3])


def test_what_could_not_be_written_is_listed(one: Path, tmp_path: Path) -> None:
    write(one, [image(1, "a.jpg")], [annotation(5, 1), annotation(6, 1, iscrowd=1)])
    document = json.loads(write_coco(CocoSet(one), tmp_path / "set").read_text())
    assert len(document["annotations"]) == 1
    assert document["info"]["left_out"] == [f"{one}: a: annotation 6 is a crowd, not one object"]


def test_photos_of_one_name_or_outside_the_folder_are_not_written(tmp_path: Path) -> None:
    shards = [write_shard(tmp_path / f"{i}.tar", {"x": MASKS}) for i in range(2)]
    with pytest.raises(DataError, match="another photo is called x"):
        write_coco(Shards(shards), tmp_path / "set")
    out = write_shard(tmp_path / "out.tar", {"../x": MASKS})
    with pytest.raises(DataError, match=r"'\.\./x\.png'"):
        write_coco(Shards(out), tmp_path / "set")
    assert not (tmp_path / "set" / "x.png").exists()


def test_photos_are_written_in_their_colours(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), photo[..., ::-1])
    path = write(tmp_path / "set.json", [image(1, "a.png")], [annotation(5, 1)])
    written = CocoSet(write_coco(CocoSet(path), tmp_path / "set"))
    np.testing.assert_array_equal(written.read(0).image, photo)


def test_the_rehearsal_set_has_boxes_near_the_true_ones(tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coco_set.py"))
    shard = write_shard(tmp_path / "s.tar", {name: MASKS for name in "abc"})
    script["main"]([shard], tmp_path / "exact", noise=0)
    truth = json.loads((tmp_path / "exact" / "instances.json").read_text())["annotations"]
    exact = json.loads((tmp_path / "exact" / "detections.json").read_text())
    assert len(truth) == 6
    # every fifth mask is found twice
    assert [found["bbox"] for found in exact] == [truth[i]["bbox"] for i in (0, 0, 1, 2, 3, 4, 5, 5)]
    for name in ("once", "again"):
        script["main"]([shard], tmp_path / name, limit=2, noise=3.0, seed=1)
    detections = (tmp_path / "once" / "detections.json").read_text()
    assert detections == (tmp_path / "again" / "detections.json").read_text()
    for found in json.loads(detections):
        x, y, width, height = found["bbox"]
        assert set(found) == {"image_id", "category_id", "bbox", "score"}
        assert x >= 0 <= y and width >= 1 <= height
        assert x + width <= SIZE[1] and y + height <= SIZE[0]
        assert 0 < found["score"] <= 1
    assert {found["image_id"] for found in json.loads(detections)} == {1, 2}
