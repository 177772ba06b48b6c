import io
import json
import os
import re
import shutil
import zipfile
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from browsing import HOME, address
from pocketsam import Segmenter
from pocketsam.predict.formats import FORMATS
from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.limits import Limits
from pocketsam.server.service import Service
from pocketsam.utils.rle import decode

CLICK = {"points": [[200, 150]], "labels": [1]}
SUFFIXES = [suffix for format in FORMATS for suffix in format.suffixes]


def masks(client, photo, *objects, **options):
    response = client.post(f"{photo}/masks", json={"objects": objects, **options})
    assert response.status_code == 200, response.text
    return response.json()["masks"]


def saved_object(client, photo, prompt=CLICK, **changes):
    mask = masks(client, photo, prompt)[0]
    kept = {"rle": mask["rle"], "name": "cap", "predicted_iou": mask["predicted_iou"], "visible": True}
    return {"box": None, "colour": "#0a84ff", **kept, **prompt, **changes}


def put(client, photo, *objects):
    return client.put(f"{photo}/annotations", json={"objects": objects})


def png(width, height, mode="L"):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


def refused(response, status, words):
    """The response is JSON with one line."""
    assert response.status_code == status, response.text
    line = response.json()["error"]
    assert "\n" not in line
    assert words in line


def test_photos_are_those_of_the_folder(client):
    assert [one["name"] for one in client.get("/api/photos").json()] == ["cap.jpg", "tshirt.jpg"]


def test_a_photo_is_encoded_once_and_shown_upright(client, cap, engine):
    assert client.get(cap).json()["width"] == 400
    masks(client, cap, CLICK)
    masks(client, cap, {"box": [10, 20, 200, 300]})
    assert len(engine.encoded) == 1
    picture = client.get(f"{cap}/image")
    known = client.get(f"{cap}/image", headers={"if-none-match": picture.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (400, 534)


def test_masks_are_those_of_the_library(samples):
    service = Service(Segmenter(), [samples / "tshirt.jpg"], samples)
    points, labels, box = [(250, 200), (20, 20)], [1, 0], (61, 20, 446, 382)
    photo = Segmenter().open(samples / "tshirt.jpg")
    clicked, boxed = photo.segment(points=points, labels=labels), photo.segment(boxes=box)
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as client:
        found = masks(
            client, address(client, "tshirt.jpg"), {"points": points, "labels": labels}, {"box": box}
        )
    assert [one["rle"] for one in found] == [*clicked.rle, *boxed.rle]
    assert found[0]["area"] == clicked.areas[0]
    assert found[1]["predicted_iou"] == pytest.approx(float(boxed.predicted_iou[0]), abs=1e-4)
    outer = [np.float32(part[0]) for part in found[0]["polygons"]]
    assert all((ours == theirs).all() for ours, theirs in zip(outer, clicked.polygons[0], strict=True))


def test_multimask_gives_three_masks_of_each_object(client, cap):
    assert [one["object"] for one in masks(client, cap, CLICK, CLICK, multimask=True)] == [0, 0, 0, 1, 1, 1]


def test_small_objects_are_looked_at_twice_on_demand(client, cap):
    small = {"box": [200, 200, 260, 240]}
    plain, zoomed = (masks(client, cap, small, zoom=zoom)[0] for zoom in (False, True))
    assert plain["rle"] != zoomed["rle"] and zoomed["area"] > 0
    answer = client.post(f"{cap}/masks", json={"objects": [small], "zoom": True, "multimask": True})
    assert answer.status_code == 400 and "leave out one of the two" in answer.text


def test_everything_finds_masks_and_takes_thresholds(client, cap):
    everything = client.post(f"{cap}/everything", json={"points_per_side": 4, "stability_score_thresh": 0})
    assert everything.json()["masks"]
    none = client.post(f"{cap}/everything", json={"points_per_side": 4, "pred_iou_thresh": 1})
    assert none.json()["masks"] == []


def test_masks_are_given_as_they_are_asked_for(client, cap):
    body = {"objects": [CLICK], "include": ["rle", "png"]}
    mask = client.post(f"{cap}/masks", json=body).json()["masks"][0]
    assert mask["polygons"] is None
    picture = np.array(Image.open(io.BytesIO(b64decode(mask["png"]))))
    assert (picture == decode(mask["rle"]) * np.uint8(255)).all()


def test_everything_as_events_ends_with_the_masks(client, cap):
    options = {"points_per_side": 8, "stability_score_thresh": 0}
    events = read_events(client.post(f"{cap}/everything/events", json=options).text)
    fractions = [data["fraction"] for name, data in events if name == "progress"]
    assert fractions == sorted(fractions)
    assert events[-1] == ("masks", client.post(f"{cap}/everything", json=options).json())
    refused(client.post("/api/photos/none/everything/events", json={}), 404, "no such photo")


def read_events(text):
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def test_the_embedding_is_the_file_of_the_library(client, cap, samples, engine, tmp_path):
    response = client.get(f"{cap}/embedding")
    assert response.headers["content-disposition"].endswith("''cap.npz")
    (tmp_path / "cap.npz").write_bytes(response.content)
    photo = Segmenter(engine=engine).open(samples / "cap.jpg", embedding=tmp_path / "cap.npz")
    assert photo.embedding.shape == (1, 256, 4, 4)


def test_strokes_are_kept_with_the_annotation(client, cap):
    strokes = [{"points": [[1.5, 2], [30, 40]], "radius": 7.5, "adds": True}]
    put(client, cap, saved_object(client, cap, strokes=strokes))
    assert client.get(f"{cap}/annotations").json()["objects"][0]["strokes"] == strokes
    refused(client.get(f"{cap}/export?suffix=.npz"), 400, "logits")


def test_annotations_are_read_back_and_are_a_coco_file(client, cap, folder):
    prompt = {"points": [[200, 150], [10, 10]], "labels": [1, 0], "box": [50, 60, 300, 400]}
    one = saved_object(client, cap, prompt, visible=False)
    assert put(client, cap, one, saved_object(client, cap)).status_code == 204
    back = client.get(f"{cap}/annotations").json()["objects"]
    assert {key: back[0][key] for key in one} == one
    assert back[0]["polygons"]
    document = json.loads((folder / "annotations/cap.masks.json").read_bytes())
    assert document["images"][0]["file_name"] == "cap.jpg"
    assert document["annotations"][0]["segmentation"] == one["rle"]
    assert [one["name"] for one in document["categories"]] == ["cap"]


def test_annotations_that_someone_else_has_saved_are_not_replaced(client, cap):
    def version():
        return client.get(f"{cap}/annotations").headers["etag"]

    def save(known, *objects):
        body = {"objects": objects}
        return client.put(f"{cap}/annotations", json=body, headers={"if-match": known})

    mine, theirs = (saved_object(client, cap, name=name) for name in ("mine", "theirs"))
    before = version()
    saved = save(before, theirs)
    assert (saved.status_code, saved.headers["etag"]) == (204, version())
    assert version() != before
    refused(save(before, mine), 412, "have changed meanwhile")
    assert [one["name"] for one in client.get(f"{cap}/annotations").json()["objects"]] == ["theirs"]
    assert save(f"W/{version()}", theirs, mine).status_code == 204
    assert save(version()).status_code == 204
    assert version() == before  # there are none again


def test_annotations_are_of_one_photo_whatever_others_are_called(client, cap, folder, samples, engine):
    put(client, cap, saved_object(client, cap))
    other = folder / "another" / "cap.jpg"
    other.parent.mkdir()
    Image.open(samples / "cap.jpg").rotate(180).save(other)
    service = Service(Segmenter(engine=engine), [other], folder / "annotations")
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as elsewhere:
        there = address(elsewhere, "cap.jpg")
        for response in (elsewhere.get(f"{there}/annotations"), put(elsewhere, there)):
            refused(response, 409, "cap.masks.json holds the annotations of another photo with this name")
    moved = folder / "moved" / "cap.jpg"
    moved.parent.mkdir()
    (folder / "cap.jpg").rename(moved)
    service = Service(Segmenter(engine=engine), [moved], folder / "annotations")
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as elsewhere:
        assert len(elsewhere.get(f"{address(elsewhere, 'cap.jpg')}/annotations").json()["objects"]) == 1


def test_a_photo_that_is_uploaded_again_keeps_its_annotations(client):
    def upload(name):
        return client.post("/api/photos", params={"name": name}, content=png(40, 30)).json()

    photo = f"/api/photos/{upload('a.png')['id']}"
    put(client, photo, saved_object(client, photo, {"points": [[20, 15]], "labels": [1]}))
    assert upload("a(1).png")["name"] == "a.png"
    assert len(client.get(f"{photo}/annotations").json()["objects"]) == 1


def test_names_need_not_be_utf_8(folder, engine):
    name = os.fsencode(folder) + b"/caf\xe9.jpg"
    shutil.copy(os.fsencode(folder / "cap.jpg"), name)
    service = Service(Segmenter(engine=engine), [Path(os.fsdecode(name))], folder)
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as client:
        (photo,) = client.get("/api/photos").json()
        assert photo["name"] == "caf\ufffd.jpg"
        assert client.get(f"/api/photos/{photo['id']}").json()["width"] == 400


def test_no_annotations_leave_no_file(client, cap, folder):
    put(client, cap, saved_object(client, cap))
    assert put(client, cap).status_code == 204
    assert client.get(f"{cap}/annotations").json() == {"objects": []}
    assert not list((folder / "annotations").iterdir())


def test_files_of_pocketsam_segment_can_be_edited(client, cap, folder, samples, engine):
    found = Segmenter(engine=engine).open(samples / "cap.jpg").segment(points=(200, 150), names=["hat"])
    (folder / "annotations").mkdir()
    found.save(folder / "annotations/cap.masks.json")
    back = client.get(f"{cap}/annotations").json()["objects"]
    assert [(one["name"], one["rle"]) for one in back] == [("hat", found.rle[0])]


@pytest.mark.parametrize("content", ["[]", "{", '{"categories": [], "annotations": [{"category_id": 1}]}'])
def test_a_file_that_holds_something_else_is_not_replaced(client, cap, folder, content):
    file = folder / "annotations/cap.masks.json"
    file.parent.mkdir()
    file.write_text(content)
    refused(client.get(f"{cap}/annotations"), 409, "cap.masks.json exists")
    refused(put(client, cap), 409, "cap.masks.json exists")
    assert file.read_text() == content


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_exported(client, cap, suffix, tmp_path):
    put(client, cap, saved_object(client, cap), saved_object(client, cap, {"box": [5, 5, 90, 90]}))
    response = client.get(f"{cap}/export", params={"suffix": suffix})
    assert response.status_code == 200, response.text
    name = response.headers["content-disposition"].partition("''")[2]
    assert name.startswith("cap.")
    assert name != "cap.jpg"
    if suffix == ".cutout.png":
        archive = zipfile.ZipFile(io.BytesIO(response.content))
        assert archive.namelist() == ["cap.0.cutout.png", "cap.1.cutout.png"]
    elif suffix.endswith("json"):
        assert json.loads(response.content)
    elif suffix.startswith(".np"):
        assert len(np.load(io.BytesIO(response.content))) > 1
    elif suffix.endswith((".png", ".jpg", ".jpeg", ".webp")):
        assert Image.open(io.BytesIO(response.content)).size == (400, 534)
    else:
        assert response.content


@pytest.mark.parametrize("suffix", [one.suffixes[0] for one in FORMATS if one.needs != "logits"])
def test_all_photos_are_exported_together(client, cap, suffix):
    refused(client.get("/api/export", params={"suffix": suffix}), 400, "no photo has annotations")
    shirt = address(client, "tshirt.jpg")
    put(client, cap, saved_object(client, cap))
    put(client, shirt, saved_object(client, shirt), saved_object(client, shirt, name="shirt"))
    response = client.get("/api/export", params={"suffix": suffix})
    assert response.status_code == 200, response.text
    name = response.headers["content-disposition"].partition("''")[2]
    assert name.startswith("annotations.")
    if name.endswith(".zip"):
        names = " ".join(zipfile.ZipFile(io.BytesIO(response.content)).namelist())
        assert "cap" in names
        assert "tshirt" in names
    else:
        assert b"cap" in response.content
        assert b"tshirt" in response.content


def test_an_export_needs_annotations_a_format_and_for_logits_a_prompt(client, cap):
    refused(client.get(f"{cap}/export?suffix=.json"), 400, "no annotations")
    refused(client.get(f"{cap}/export?suffix=.doc"), 400, "suffix")
    put(client, cap, saved_object(client, cap, points=[], labels=[]))
    refused(client.get(f"{cap}/export?suffix=.npz"), 400, "logits")


def test_an_uploaded_photo_is_like_any_other(client, samples):
    content = (samples / "sneakers.jpg").read_bytes()
    response = client.post("/api/photos", params={"name": "../../my ☃ shoes.jpg"}, content=content)
    assert response.status_code == 201
    assert response.json()["name"] == "my _ shoes.jpg"
    again = client.post("/api/photos", params={"name": "my _ shoes.jpg"}, content=content)
    assert again.json() == response.json()
    assert len(masks(client, f"/api/photos/{response.json()['id']}", CLICK)) == 1


def test_old_uploads_go_when_there_are_too_many(client):
    noise = np.random.default_rng(0)
    ids = []
    for i in range(3):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (250, 250, 3), np.uint8)).save(file, "PNG")
        ids.append(client.post(f"/api/photos?name={i}.png", content=file.getvalue()).json()["id"])
    assert [one["id"] for one in client.get("/api/photos").json()][2:] == ids[1:]
    refused(client.get(f"/api/photos/{ids[0]}"), 404, "no such photo")


def test_encoded_photos_are_bounded_in_bytes(folder, engine):
    service = Service(Segmenter(engine=engine), [folder], folder, Limits(cache=1))
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as client:
        for name in ("cap.jpg", "tshirt.jpg", "cap.jpg"):
            client.get(address(client, name))
    assert len(engine.encoded) == 3


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"no photo at all", 400, "is not an image"),
        (png(40, 40)[:45], 400, "cannot be decoded"),
        (png(1000, 1000, "1"), 413, "1000 × 1000 pixels"),
        (bytes(300_001), 413, "larger than"),
    ],
)
def test_uploads_that_are_no_good_are_refused_in_one_line(client, content, status, words):
    refused(client.post("/api/photos?name=x.png", content=content), status, words)
    assert len(client.get("/api/photos").json()) == 2


def test_a_body_without_a_length_is_counted(client):
    refused(client.post("/api/photos?name=x.png", content=iter([bytes(200_000)] * 3)), 413, "larger than")


@pytest.mark.parametrize(
    ("prompt", "status", "words"),
    [
        ({}, 400, "no prompt"),
        ({"points": [[1, 2]], "labels": [1, 0]}, 400, "labels"),
        ({"points": [[9999, 2]], "labels": [1]}, 400, "outside the photo"),
        ({"points": [[1, 2]], "labels": [0]}, 400, "background"),
        ({"points": [[1, 2]], "labels": [7]}, 422, "labels"),
        ({"points": [[1, 2, 3]], "labels": [1]}, 422, "points"),
        ({"points": [[1, 2]] * 201, "labels": [1] * 201}, 422, "200"),
        ({"box": [5, 5, 5, 5]}, 400, "no area"),
        ({"box": [1, 2, 3]}, 422, "box"),
        ({"boxes": [1, 2, 3, 4]}, 422, "boxes"),
        ({"box": [1, 2, 3, 4], "name": "x" * 101}, 422, "name"),
    ],
)
def test_bad_prompts_are_refused_in_one_line(client, cap, prompt, status, words):
    refused(client.post(f"{cap}/masks", json={"objects": [prompt]}), status, words)


def test_prompts_are_limited(client, cap):
    refused(client.post(f"{cap}/masks", json={"objects": [CLICK] * 65}), 422, "64")
    refused(client.post(f"{cap}/masks", json={"objects": []}), 422, "objects")
    refused(client.post(f"{cap}/masks", content=b'{"objects": [{"box": [NaN, 1, 2, 3]}]}'), 422, "")
    refused(client.post(f"{cap}/everything", json={"points_per_side": 1000}), 422, "points_per_side")


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [534, 400], "counts": "not run lengths"},
        {"size": [534, 400], "counts": ""},
        {"size": [534, 400], "counts": "11"},
        {"size": [4, 4], "counts": "`0"},
        {"size": [10**9, 10**9], "counts": "P"},
        {"size": [534, 400], "counts": "o" * 40},
    ],
)
def test_damaged_masks_are_not_saved(client, cap, folder, rle):
    refused(put(client, cap, saved_object(client, cap, rle=rle)), 422, "mask of object 0")
    assert not (folder / "annotations").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/api/photos/..%2f..%2fsecret.txt/image",
        "/api/photos/secret.txt/image",
        "/api/photos/%2e%2e/image",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/secret.txt",
    ],
)
def test_no_other_file_is_reached(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]


def test_a_photo_that_has_gone_is_an_error_without_its_path(client, cap, folder):
    (folder / "cap.jpg").unlink()
    response = client.get(cap)
    refused(response, 400, "cap.jpg: cannot be read")
    assert str(folder) not in response.text


def test_the_api_describes_itself(client):
    paths = client.get("/api/openapi.json").json()["paths"]
    assert "/api/photos/{id}/masks" in paths
    assert all(path.startswith("/api/") for path in paths)
    page = client.get("/api/").text
    assert all(path in page for path in paths)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_the_page_and_its_files_are_served(client):
    assert "PocketSAM" in client.get("/").text
    assert "javascript" in client.get("/static/main.js").headers["content-type"]
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")


def test_a_mask_decodes_to_the_area_it_says(client, cap):
    mask = masks(client, cap, CLICK)[0]
    assert decode(mask["rle"]).sum() == mask["area"]


def test_a_photo_that_is_replaced_is_another_from_then_on(client, cap, folder, samples):
    put(client, cap, saved_object(client, cap))
    tag = client.get(f"{cap}/image").headers["etag"]
    Image.open(samples / "cap.jpg").rotate(180).save(folder / "cap.jpg")
    picture = client.get(f"{cap}/image", headers={"if-none-match": tag})
    assert picture.status_code == 200 and picture.headers["etag"] != tag
    refused(client.get(f"{cap}/annotations"), 409, "another photo")
    refused(client.get("/api/export", params={"suffix": ".json"}), 409, "another photo")
