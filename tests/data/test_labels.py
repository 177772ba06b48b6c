"""What annotation tools write can be trained and evaluated on: each format gives the same photos and masks."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from commands import run
from pocketsam.data.datasets import open_dataset
from pocketsam.data.labels import Labels
from pocketsam.errors import DataError, InputError
from pocketsam.predict.formats import format_named
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto
from pocketsam.predict.formats.writing import write_labels
from pocketsam.utils.rle import encode
from shards import blocks, jpeg, paint

MASKS = blocks((2, 2, 20, 20), (30, 5, 50, 30))
TARGETS = {
    "labelme": ".",
    "yolo": ".",
    "voc": ".",
    "cvat": "annotations.cvat.xml",
    "labelstudio": "export.json",
    "geojson": "x.geojson",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with x.jpg."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "x.jpg").write_bytes(jpeg(paint(MASKS)))
    return folder


def write(name: str, folder: Path, masks=MASKS) -> Path:
    """Labels of x.jpg in a format; what to open."""
    objects = tuple(LabelledObject(encode(mask), "leaf") for mask in masks)
    photo = LabelledPhoto("x.jpg", masks.shape[1:], objects)
    format = format_named(name)
    target = folder / TARGETS[name]
    given = target if target.suffix not in (".json", "") else folder
    (written,) = write_labels([photo], Classes(["leaf"]), given, format)[:1]
    if target.suffix == ".json":  # as Label Studio calls its exports
        written.rename(target)
    return folder if target == folder else target


@pytest.mark.parametrize("name", TARGETS)
def test_labels_beside_their_photos(name: str, photos: Path) -> None:
    path = write(name, photos)
    data = open_dataset([path])
    assert isinstance(data, Labels)
    (sample,) = (data.read(i) for i in range(len(data)))
    assert (sample.name, data.mask_count(0)) == ("x", 2)
    found = sorted(sample.masks(), key=lambda mask: np.flatnonzero(mask)[0])
    np.testing.assert_array_equal(found, MASKS)
    assert np.abs(sample.image.astype(int) - paint(MASKS)).max() < 25


@pytest.mark.parametrize("target", ["annotations.cvat.xml", "labels.yolo.zip"])
def test_labels_apart_from_their_photos(target: str, photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    objects = tuple(LabelledObject(encode(mask)) for mask in MASKS)
    (path,) = write_labels([LabelledPhoto("x.jpg", MASKS.shape[1:], objects)], Classes(), labels / target)
    assert len(open_dataset([path], photos).read(0).rles) == 2
    with pytest.raises(InputError, match="there is no photo x"):
        open_dataset([path]).read(0)


def test_a_photo_of_another_size_is_named(photos: Path) -> None:
    path = write("cvat", photos)
    (photos / "x.jpg").write_bytes(jpeg(paint(blocks((1, 1, 5, 5), size=(40, 40)))))
    with pytest.raises(DataError, match=r"annotations\.cvat\.xml: x\.jpg: is 40 × 40 pixels, but"):
        open_dataset([path]).read(0)


def test_shapes_that_are_no_areas_are_named(photos: Path) -> None:
    path = write("cvat", photos)
    text = path.read_text().replace("</image>", '<points label="leaf" points="1,1"/></image>')
    path.write_text(text)
    sample = open_dataset([path]).read(0)
    assert len(sample.rles) == 2
    assert sample.left_out == (f"{path}: x.jpg: shape 2 is a points, which is no area",)


def test_a_zip_file_without_labels_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(InputError, match=r"x\.zip: there are no labels"):
        open_dataset([tmp_path / "x.zip"])


def test_a_model_is_evaluated_on_them(photos: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    words = "evaluate", "clicks", write("labelme", photos), "-o", tmp_path / "result", "--workers", "0"
    code, printed, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    assert "masks" in printed
    assert (tmp_path / "result" / "result.json").exists()
