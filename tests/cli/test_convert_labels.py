import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import files, run
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto
from pocketsam.predict.formats.reading import read_labels
from pocketsam.predict.formats.writing import write_labels
from pocketsam.utils.rle import encode


@pytest.fixture
def convert(monkeypatch, capsys, tmp_path):
    """Runs `pocketsam convert-labels …` in an empty folder; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run(monkeypatch, capsys, "convert-labels", *words)


def write_coco(path: str, **names: str) -> None:
    """Photos NAME.png of 30 × 20 pixels, each with an object of the class."""
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:20] = True
    photos = [
        LabelledPhoto(f"{photo}.png", (20, 30), (LabelledObject(encode(mask), name, 0.5),))
        for photo, name in names.items()
    ]
    write_labels(photos, Classes(), Path(path))


def test_the_suffix_chooses_the_format_and_losses_are_named(convert):
    write_coco("a.json", one="cap", two="shoe")
    code, out, err = convert("a.json", "b.cvat.xml")
    assert (code, out) == (0, "2 masks of 2 photos: b.cvat.xml\n")
    assert err == "pocketsam: cvat does not hold scores, the numbers of masks, masks without pixels\n"
    assert [photo.names for photo in read_labels("b.cvat.xml")[0].photos] == [("cap",), ("shoe",)]


def test_a_folder_needs_a_format(convert):
    write_coco("a.json", one="cap", two="shoe")
    assert convert("a.json", "out", "--to", "labelme")[:2] == (0, "2 masks of 2 photos: 2 files in out\n")
    code, out, _ = convert("out", "b.json")
    assert (code, out) == (0, "2 masks of 2 photos: b.json\n")
    assert json.loads(Path("b.json").read_text())["annotations"][0]["predicted_iou"] == 0.5


def test_yolo_needs_the_photos(convert):
    write_coco("a.json", one="cap")
    assert convert("a.json", "yolo", "--to", "yolo")[0] == 0
    code, _, err = convert("yolo", "b.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no photo one in this folder; give the folder of the photos with --photos" in err
    assert not Path("b.json").exists()
    Path("photos").mkdir()
    Image.new("L", (30, 20)).save("photos/one.png")
    assert convert("yolo", "b.json", "--photos", "photos")[:2] == (0, "1 mask of 1 photo: b.json\n")


def test_what_cannot_be_read_is_left_out_and_named(convert):
    write_coco("a.json", one="cap", two="shoe")
    document = json.loads(Path("a.json").read_text())
    document["annotations"][1]["segmentation"]["counts"] = "damaged"
    Path("a.json").write_text(json.dumps(document))
    code, out, err = convert("a.json", "b.geojson.json")
    assert code == 2 and "is not a format" in err
    code, out, err = convert("a.json", "b.polygons.json")
    assert (code, out) == (0, "1 mask of 2 photos: b.polygons.json\n")
    assert err.startswith("pocketsam: left out: a.json: two.png: annotation 2 has a damaged mask")


BAD = {
    "empty.json": "",
    "other.json": "{}",
    "list.json": "[1, 2]",
    "half.cvat.xml": "<annotations><image",
    "bomb.cvat.xml": '<!DOCTYPE x [<!ENTITY a "aa">]><annotations>&a;</annotations>',
    "sizeless.cvat.xml": '<annotations><image name="a.jpg"/></annotations>',
    "out.labelme.json": '{"shapes": [], "imagePath": "..", "imageHeight": 2, "imageWidth": 2}',
    "out.json": '{"images": [{"id": 1, "file_name": "../a.jpg", "width": 2, "height": 2}], "annotations": []}',
    "strange.json": '{"images": 5, "annotations": []}',
    "stray.json": '{"images": [], "annotations": [{"id": 1, "image_id": 7}]}',
    "curve.svg": '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0,0"/></svg>',
    "no.yolo.zip": "not a ZIP file",
    "text.labels.png": "not an image",
    "text.txt": "words",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line_that_names_them(convert, name):
    Path(name).write_text(BAD[name])
    before = files()
    code, out, err = convert(name, "b.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"pocketsam: {name}: ")
    assert files() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing", "b.json"), "missing: there is no such file or folder"),
        (("a.json", "out"), "out: is a folder; give --to with one of coco, labelme"),
        (("a.json", "out", "--to", "word"), "word: is not a format; use one of coco, labelme"),
        (("a.json", "out", "--to", "logits"), "logits: is not a format; use one of"),
        (("a.json", "b.npz"), "b.npz: the suffix says what to write"),
        (("a.json", "b.svg"), "b.svg: is one file, but this format has a file for each photo"),
        (("a.json", "b.svg", "--to", "voc"), "b.svg: the suffix means the format svg, not voc"),
        (("a.json", "b.json", "--from", "overlay"), "overlay: is not a format; use one of"),
        (("a.json", "b.json", "--from", "yolo"), "a.json: is a file, but this format is a folder or a ZIP file"),
        (("a.json", "b.json", "--photos", "x"), "x: there is no such folder of photos"),
        (("a.json", "a.json"), "a.json: is also what is read"),
        (("empty", "b.json"), "empty: there are no labels of the format"),
        (("both", "b.json"), "both: there are labels of several formats, coco (a.json), svg (a.svg); give --from"),
        (("a.json", "out", "--to", "cutout"), ".: there is no photo one.png in this folder"),
    ],
)  # fmt: skip
def test_bad_arguments_end_in_one_line(convert, words, message):
    write_coco("a.json", one="cap", two="shoe")
    Path("empty").mkdir()
    write_coco("both/a.json", one="cap")
    write_coco("both/a.svg", one="cap")
    before = files()
    code, out, err = convert(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert files() == before
