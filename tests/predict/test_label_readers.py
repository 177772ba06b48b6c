"""Labels as other programs write them."""

import base64
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketsam.errors import InputError
from pocketsam.predict.formats.brush import from_brush, to_brush
from pocketsam.predict.formats.converting import convert_labels
from pocketsam.predict.formats.labelled import LabelledPhoto
from pocketsam.predict.formats.reading import read_labels
from pocketsam.predict.formats.voc import palette
from pocketsam.predict.formats.yaml import read_names
from pocketsam.utils.rle import decode, encode

SIZE = (20, 30)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def only(path: Path, photos: Path | None = None) -> LabelledPhoto:
    (photo,) = read_labels(path, photos=photos)[0].photos
    return photo


def assert_masks(photo: LabelledPhoto, *masks: np.ndarray) -> None:
    np.testing.assert_array_equal([decode(rle) for rle in photo.rle], masks)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a.png of 30 × 20 pixels."""
    (tmp_path / "photos").mkdir()
    Image.new("L", SIZE[::-1]).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def test_labelme_has_rectangles_circles_masks_and_groups(tmp_path):
    png = io.BytesIO()
    Image.fromarray(np.eye(3, dtype=bool)).save(png, "PNG")
    shapes = [
        {"label": "box", "points": [[4, 9], [1, 2]], "shape_type": "rectangle", "group_id": None},
        {"label": "disc", "points": [[10, 10], [10, 13]], "shape_type": "circle"},
        {
            "label": "mask",
            "points": [[5, 6], [7, 8]],
            "shape_type": "mask",
            "mask": base64.b64encode(png.getvalue()).decode(),
        },
        {"label": "pair", "points": [[0, 0], [2, 0], [2, 2], [0, 2]], "shape_type": "polygon", "group_id": 7},
        {"label": "pair", "points": [[5, 0], [7, 0], [7, 2], [5, 2]], "shape_type": "polygon", "group_id": 7},
        {"label": "line", "points": [[0, 0], [2, 2]], "shape_type": "line"},
    ]
    document = {
        "version": "4.5.6",
        "shapes": shapes,
        "imagePath": "..\\photos\\a.png",
        "imageData": None,
        "imageHeight": 20,
        "imageWidth": 30,
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    photo = only(tmp_path / "a.json")
    assert (photo.file_name, photo.names) == ("a.png", ("box", "disc", "mask", "pair"))
    assert photo.left_out == ("shape 5 is a line, which is no area",)
    y, x = np.mgrid[:20, :30] + 0.5
    diagonal = np.zeros(SIZE, bool)
    diagonal[6:9, 5:8] = np.eye(3)
    disc = (x - 10) ** 2 + (y - 10) ** 2 < 9
    assert_masks(photo, box(1, 2, 4, 9), disc, diagonal, box(0, 0, 2, 2) | box(5, 0, 7, 2))
    assert photo.objects[3].id == 7


def test_cvat_has_boxes_ellipses_and_what_is_no_area(tmp_path):
    (tmp_path / "annotations.xml").write_text("""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels><label><name>cap</name></label><label><name>bag</name></label></labels></task></meta>
<image id="0" name="sub/a.png" width="30" height="20">
<box label="bag" occluded="0" xtl="1.00" ytl="2.00" xbr="4.00" ybr="9.00" z_order="0"></box>
<ellipse label="cap" cx="10" cy="10" rx="3" ry="3" z_order="0"/>
<polygon label="cap" points="0,0;2,0;2,2;0,2" group_id="4"/>
<polygon label="cap" points="5,0;7,0;7,2;5,2" group_id="4"/>
<mask label="cap" rle="1, 2, 1" left="3" top="4" width="2" height="2"/>
<mask label="cap" rle="1, 2, 7" left="3" top="4" width="2" height="2"/>
<polyline label="cap" points="0,0;2,0"/><tag label="cap"/>
</image></annotations>""")
    labels, _ = read_labels(tmp_path / "annotations.xml")
    (photo,) = labels.photos
    assert [one.name for one in labels.classes] == ["cap", "bag"]
    assert (photo.file_name, photo.names) == ("sub/a.png", ("bag", "cap", "cap", "cap"))
    assert [line.split()[:2] for line in photo.left_out] == [["shape", "5"], ["shape", "6"], ["shape", "7"]]
    pixels = np.zeros(SIZE, bool)
    pixels[4, 4] = pixels[5, 3] = True
    assert_masks(
        photo,
        box(1, 2, 4, 9),
        decode(photo.rle[1]),
        box(0, 0, 2, 2) | box(5, 0, 7, 2),
        pixels,
    )
    assert decode(photo.rle[1]).sum() == 32


def test_label_studio_exports_have_uploads_boxes_and_polygons(tmp_path):
    common = {"original_width": 30, "original_height": 20, "to_name": "image", "from_name": "label"}
    square = {"x": 10, "y": 10, "width": 20, "height": 50, "rotation": 0, "rectanglelabels": ["cap"]}
    outline = {"points": [[0, 0], [20, 0], [20, 50], [0, 50]], "polygonlabels": ["bag"]}
    turned = {**square, "rotation": 45}
    results = [
        {**common, "id": "aBc", "type": "rectanglelabels", "value": square},
        {**common, "id": "dEf", "type": "polygonlabels", "value": outline},
        {**common, "id": "gHi", "type": "rectanglelabels", "value": turned},
        {"type": "choices", "from_name": "quality", "to_name": "image"},
    ]
    task = {
        "id": 5,
        "data": {"image": "/data/upload/1/0a1b2c3d-a%20b.png"},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {"id": 2, "was_cancelled": False, "result": results},
        ],
        "predictions": [],
    }
    (tmp_path / "project-1.json").write_text(json.dumps([task]))
    photo = only(tmp_path / "project-1.json")
    assert (photo.file_name, photo.names) == ("a b.png", ("cap", "bag"))
    assert photo.left_out == ("region gHi is a rectanglelabels, which is not read",)
    assert_masks(photo, box(3, 2, 9, 12), box(0, 0, 6, 10))


def test_brush_strokes_are_label_studios():
    """What label_studio_sdk.converter.brush.mask2rle 2.1.2 gives for the mask; its last byte is padding."""
    mask = np.array([[0, 1, 1], [1, 0, 0]], bool)
    theirs = [0, 0, 0, 24, 57, 27, 252, 96, 22, 255, 231, 0, 0]
    assert from_brush(theirs, (2, 3)) == encode(mask)
    assert to_brush(encode(mask)) == theirs[:-1]


@pytest.mark.parametrize("values", [[], [0] * 8, [0, 0, 0, 24, 57, 27, 252], [0, 0, 0, 24, 999], "x"])
def test_damaged_brush_strokes_are_refused(values):
    with pytest.raises(ValueError, match="has a damaged mask"):
        from_brush(values, (2, 3))


@pytest.mark.parametrize(
    "names",
    [
        "names: [cap, 'a, b', \"c: d\"]",
        "names:\n  0: cap\n  1: 'a, b'\n  2: \"c: d\"\nnc: 3",
        "nc: 3\nnames:\n- cap\n- a, b # comment\n- 'c: d'\n",
        "names: {0: cap, 1: 'a, b', 2: 'c: d'}",
        "names: ['cap', 'a, b', 'c: d']  # of [the] set",
        "names: {0: cap, 1: 'a, b', 2: 'c: d'} # three\nnc: 3",
        "names: [\n  'cap',\n  'a, b',\n  'c: d'\n]\nnc: 3",
    ],
)
def test_yolo_names_come_in_every_form(tmp_path, photos, names):
    labels = tmp_path / "set" / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / "set" / "data.yaml").write_text(f"path: .\n{names}")
    (labels / "a.txt").write_text(
        "1 0.1 0.1 0.3 0.1 0.3 0.6 0.1 0.6\n2 0.2 0.35 0.2 0.5 0.75\n\n5 0.5 0.5 0.1 0.1\n0 0.1\n"
    )
    photo = only(tmp_path / "set", photos)
    assert photo.names == ("a, b", "c: d")
    assert [one.score for one in photo.objects] == [None, 0.75]
    assert [line.split(" ")[1] for line in photo.left_out] == ["4", "5"]
    assert_masks(photo, box(3, 2, 9, 12), box(3, 2, 9, 12))


def test_voc_has_its_own_classes_and_contours(tmp_path):
    """VOC's own files: a palette, 255 around each object, and no labelmap.txt."""
    classes, objects = np.zeros((2, *SIZE), np.uint8)
    classes[4:9, 4:9], objects[4:9, 4:9] = 255, 255
    classes[5:8, 5:8], objects[5:8, 5:8] = 15, 1
    for name, values in (("SegmentationClass", classes), ("SegmentationObject", objects)):
        (tmp_path / name).mkdir()
        image = Image.fromarray(values)
        image.putpalette(palette().ravel().tolist())
        image.save(tmp_path / name / "2007_000001.png")
    photo = only(tmp_path)
    assert (photo.file_name, photo.names, photo.objects[0].id) == ("2007_000001.jpg", ("person",), 1)
    assert_masks(photo, box(5, 5, 8, 8))


def test_geojson_of_qupath_needs_the_photo(tmp_path, photos):
    polygon = [[[1, 2], [4, 2], [4, 9], [1, 9], [1, 2]]]
    feature = {
        "type": "Feature",
        "id": "4ae9-uuid",
        "geometry": {"type": "Polygon", "coordinates": polygon},
        "properties": {"objectType": "annotation", "classification": {"name": "tumour", "color": [1, 2, 3]}},
    }
    line = {
        "type": "Feature",
        "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
        "properties": {},
    }
    document = {"type": "FeatureCollection", "features": [feature, line]}
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    photo = only(tmp_path / "a.geojson", photos)
    assert (photo.file_name, photo.size, photo.names) == ("a.png", SIZE, ("tumour",))
    assert photo.left_out == ("feature 1 is a LineString, which is no area",)
    assert_masks(photo, box(1, 2, 4, 9))


def test_svg_paths_may_have_relative_lines_but_no_curves(tmp_path):
    (tmp_path / "a.svg").write_text("""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20"><g>
<path d="m1 2h3v7H1z m10,0 3,0 0,7 -3,0z"><title>two</title></path>
<path d="M0,0C1,1 2,2 3,3Z"/><path transform="scale(2)" d="M0,0L2,0L2,2Z"/></g></svg>""")
    photo = only(tmp_path / "a.svg")
    assert (photo.size, photo.names) == (SIZE, ("two",))
    assert [line.split()[:2] for line in photo.left_out] == [["path", "1"], ["path", "2"]]
    assert_masks(photo, box(1, 2, 4, 9) | box(11, 2, 14, 9))


def test_coco_keeps_what_it_alone_knows(tmp_path):
    annotation = {"id": 9, "image_id": 7, "category_id": 90, "iscrowd": 1, "attributes": {"occluded": True}}
    image = {"id": 7, "file_name": "a.png", "width": 30, "height": 20, "license": 3}
    document = {
        "images": [image],
        "annotations": [{**annotation, "segmentation": {"size": [20, 30], "counts": [10, 20, 570]}}],
        "categories": [{"id": 90, "name": "toothbrush", "supercategory": "indoor"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    convert_labels(tmp_path / "a.json", tmp_path / "b.json")
    back = json.loads((tmp_path / "b.json").read_text())
    assert back["images"] == [image]
    assert back["categories"] == document["categories"]
    assert annotation.items() <= back["annotations"][0].items()


def test_sa1b_is_read(tmp_path):
    rle = encode(box(1, 2, 4, 9))
    image = {"image_id": 7, "file_name": "sa_7.jpg", "width": 30, "height": 20}
    annotations = [{"id": 9, "segmentation": rle, "predicted_iou": 0.9}]
    (tmp_path / "sa_7.json").write_text(json.dumps({"image": image, "annotations": annotations}))
    photo = only(tmp_path / "sa_7.json")
    assert (photo.file_name, photo.id, photo.names) == ("sa_7.jpg", 7, ("object",))
    assert photo.objects[0].score == 0.9


def test_label_maps_lie_in_a_folder_beside_their_photos(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("L", SIZE[::-1]).save(tmp_path / "images" / "a.jpg")
    Image.fromarray(box(1, 2, 4, 9).astype(np.uint8) * 3).save(tmp_path / "labels" / "a.png")
    photo = only(tmp_path)
    assert (photo.file_name, photo.objects[0].id) == ("a.jpg", 3)


def test_names_in_a_zip_file_do_not_lead_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.yaml", "names: [a]")
        archive.writestr("../labels/x.txt", "0 0 0 1 0 1 1")
    with pytest.raises(InputError):
        list(read_labels(tmp_path / "a.zip", photos=tmp_path)[0].photos)


def test_a_photo_that_is_turned_has_the_size_that_is_shown(tmp_path):
    image = Image.new("L", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "classes.txt").write_text("cap\n")
    (tmp_path / "a.txt").write_text("0 0 0 1 0 1 1\n")
    assert only(tmp_path).size == (30, 20)


def test_photos_of_a_file_are_beside_it_or_in_images(tmp_path):
    write = Image.fromarray(box(1, 2, 4, 9).astype(np.uint8))
    for place, found in (("x", "a"), ("images", "a.jpg")):
        (tmp_path / place).mkdir()
        Image.new("L", SIZE[::-1]).save(tmp_path / place / "a.jpg")
        write.save(tmp_path / "a.labels.png")
        assert only(tmp_path / "a.labels.png").file_name == found


def test_coco_ids_from_0_stay_but_those_of_masks(tmp_path):
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(2)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "segmentation": encode(box(1, 2, 4, 9))}
            for i in range(2)
        ],
        "categories": [{"id": 0, "name": "cap"}, {"id": 1, "name": "shoe"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    convert_labels(tmp_path / "a.json", tmp_path / "b.json")
    back = json.loads((tmp_path / "b.json").read_text())
    assert [one["id"] for one in back["images"]] == [0, 1]
    assert {one["id"]: one["name"] for one in back["categories"]} == {0: "cap", 1: "shoe"}
    assert [(one["image_id"], one["category_id"]) for one in back["annotations"]] == [(0, 0), (1, 1)]
    assert sorted(one["id"] for one in back["annotations"]) == [1, 2]


@pytest.mark.parametrize("target", ["a.overlay.png", "a.cutout.png"])
def test_a_photo_of_another_size_than_its_labels_is_one_line(tmp_path, target):
    image = {"id": 1, "file_name": "a.png", "width": 30, "height": 20}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": encode(box(1, 2, 4, 9))}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cap"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    Image.new("L", (15, 10)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: is 15 × 10 pixels, but 30 × 20 in its labels"):
        convert_labels(tmp_path / "a.json", tmp_path / target)


def test_a_long_list_of_names_takes_no_time_and_words_may_have_apostrophes() -> None:
    names = [f"c{i}" for i in range(80)]
    assert list(read_names(f"names: [{', '.join(map(repr, names))}").values()) == names
    text = r"""names: [dog's, 'it''s [1]', "a \"]\" b"] # ]"""
    assert read_names(text) == {0: "dog's", 1: "it's [1]", 2: 'a "]" b'}
