"""Label Studio's requests, as it sends them when a smart tool is used."""

import http.server
import shutil
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient

from browsing import HOME
from pocketsam.predict.formats.brush import to_brush
from pocketsam.predict.formats.labelstudio import mask_of
from pocketsam.segmenter import Segmenter
from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.label_studio import _clicks
from pocketsam.server.service import Service
from pocketsam.utils.rle import decode, encode

SIZE = HEIGHT, WIDTH = 534, 400
CONFIG = """<View><Image name="img" value="$photo" zoom="true"/>
<BrushLabels name="brush" toName="img"><Label value="cap"/></BrushLabels>
<KeyPointLabels name="point" toName="img" smart="true"><Label value="cap" smart="true"/></KeyPointLabels>
<RectangleLabels name="box" toName="img" smart="true"><Label value="cap"/></RectangleLabels></View>"""
POLYGONS = CONFIG.replace("BrushLabels", "PolygonLabels").replace('"brush"', '"outline"')


def region(kind, value, **more):
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, kind: ["cap"]},
        "id": "xyz",
        "from_name": "point",
        "to_name": "img",
        "type": kind,
        "origin": "manual",
        **more,
    }


CLICK = region("keypointlabels", {"x": 50, "y": 30, "width": 0.5}, is_positive=True)
AWAY = region("keypointlabels", {"x": 5, "y": 5, "width": 0.5}, is_positive=False)
BOX = region("rectanglelabels", {"x": 10, "y": 10, "width": 50, "height": 40, "rotation": 0})


def predict(client, *regions, config=CONFIG, photo="/data/upload/1/0a1b2c3d-cap.jpg"):
    request = {
        "tasks": [{"id": 3, "data": {"photo": photo}, "annotations": [], "predictions": []}],
        "model_version": "fake",
        "project": "7.1700000000",
        "label_config": config,
        "params": {
            "login": None,
            "password": None,
            "context": {"result": list(regions)} if regions else None,
        },
    }
    return client.post("/label-studio/predict", json=request)


def results(response):
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["results"]
    assert prediction["model_version"] == response.json()["model_version"] == "fake"
    return prediction["result"]


def stroke():
    mask = np.zeros(SIZE, bool)
    mask[100:110, 50:250] = True
    return mask


def test_label_studio_finds_the_backend(client):
    assert client.get("/label-studio/health").json()["status"] == "UP"
    setup = {
        "project": "7.1700000000",
        "schema": CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": "x",
    }
    assert client.post("/label-studio/setup", json=setup).json() == {"model_version": "fake"}
    assert client.post("/label-studio/versions", json={"project": "7"}).json() == {"versions": ["fake"]}
    assert client.post("/label-studio/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201


@pytest.mark.parametrize(
    ("regions", "sent"),
    [
        ([CLICK], [(1, 200.0, 160.2)]),
        ([CLICK, AWAY], [(1, 200.0, 160.2), (0, 20.0, 26.7)]),
        ([BOX], [(2, 40.0, 53.4), (3, 240.0, 267.0)]),
    ],
    ids=["click", "clicks", "box"],
)
def test_clicks_and_boxes_become_brush_strokes(client, engine, regions, sent):
    (found,) = results(predict(client, *regions))
    assert (found["type"], found["from_name"], found["to_name"]) == ("brushlabels", "brush", "img")
    assert (found["original_width"], found["original_height"]) == (WIDTH, HEIGHT)
    assert found["value"]["brushlabels"] == ["cap"] and found["value"]["format"] == "rle"
    assert decode(mask_of(found, SIZE)).any()
    scale = 64 / HEIGHT
    (tokens,) = zip(engine.decoded[-1]["labels"], engine.decoded[-1]["points"], strict=True)
    expected = {label: (x * scale, y * scale) for label, x, y in sent}
    for label, point in zip(*tokens, strict=True):
        if label != -1:
            np.testing.assert_allclose(point, expected[int(label)], atol=0.6)


def test_a_brush_stroke_is_a_prompt(client):
    brush = region("brushlabels", {"format": "rle", "rle": to_brush(encode(stroke()))})
    (found,) = results(predict(client, brush))
    assert decode(mask_of(found, SIZE))[105, 150]


def test_clicks_of_a_stroke_lie_along_its_middle():
    clicks = _clicks(stroke())
    assert len(clicks) == 5
    assert all(103 <= y <= 107 for _, y in clicks)
    assert [x for x, _ in clicks] == sorted(x for x, _ in clicks)
    assert _clicks(np.zeros(SIZE, bool)) == []


def test_a_polygon_control_gets_polygons(client):
    (found,) = results(predict(client, BOX, config=POLYGONS))
    assert (found["type"], found["from_name"]) == ("polygonlabels", "outline")
    brush = results(predict(client, BOX))[0]
    np.testing.assert_array_equal(decode(mask_of(found, SIZE)), decode(mask_of(brush, SIZE)))


def test_several_boxes_are_several_objects(client):
    assert len(results(predict(client, BOX, {**BOX, "id": "other"}))) == 2


def test_without_a_prompt_there_is_no_result(client):
    assert results(predict(client)) == []


@pytest.mark.parametrize(("password", "status"), [("se cret:1", 200), ("wrong", 401), ("", 401)])
def test_label_studio_brings_the_token_as_a_password(service, password, status):
    with TestClient(make_app(service, None, "se cret:1"), base_url=HOME) as client:
        assert client.get("/label-studio/health", auth=("any", password)).status_code == status
        assert client.get("/label-studio/health", headers={"authorization": "Basic ?"}).status_code == 401


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"config": "<View/>"}, 400, "has no BrushLabels and no PolygonLabels"),
        ({"config": "<View"}, 400, "the labelling configuration is not whole"),
        ({"photo": "/data/upload/1/other.jpg"}, 404, "there is no photo other.jpg here"),
        ({"photo": "http://evil.example/other.jpg"}, 404, "there is no photo other.jpg here"),
        ({"photo": "../../secret.txt"}, 404, "there is no photo secret.txt here"),
        ({"photo": 5}, 400, "the task has no photo under `photo`"),
    ],
)
def test_bad_requests_are_refused_in_one_line(client, change, status, words):
    response = predict(client, CLICK, **change)
    assert response.status_code == status
    assert words in response.json()["error"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"value": 5, "type": "keypointlabels"},
        region("keypointlabels", {"x": "a", "y": 1}),
        region("keypointlabels", {"x": 1e9, "y": 1}),
        region("brushlabels", {"format": "rle", "rle": [1, 2]}),
        region("choices", {}),
    ],
)
def test_regions_that_are_no_prompts_are_refused(client, bad):
    assert predict(client, bad).status_code in (400, 422)


def test_photos_come_from_the_label_studio_that_is_named(client, samples, monkeypatch):
    seen = []

    class Photos(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write((samples / "sneakers.jpg").read_bytes())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Photos)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    try:
        for _ in range(2):
            (found,) = results(predict(client, CLICK, photo="/data/upload/1/sneakers.jpg"))
            assert (found["original_width"], found["original_height"]) == (429, 400)
        assert seen == [("/data/upload/1/sneakers.jpg", "Token key")]
        assert predict(client, CLICK, photo="http://127.0.0.1:9/x.jpg").status_code == 404
    finally:
        server.shutdown()


def test_of_photos_with_one_name_the_one_whose_path_fits_is_segmented(folder, engine, samples):
    for name, sample in (("cam1", "cap.jpg"), ("cam2", "tshirt.jpg")):
        (folder / name).mkdir()
        shutil.copy(samples / sample, folder / name / "0001.jpg")
    service = Service(Segmenter(engine=engine), [folder / "cam1", folder / "cam2"], folder)
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as client:
        for folder_name, width in (("cam1", 400), ("cam2", 533)):
            (found,) = results(
                predict(client, BOX, photo=f"/data/local-files/?d=photos/{folder_name}/0001.jpg")
            )
            assert found["original_width"] == width
        refused = predict(client, BOX, photo="/data/upload/1/0a1b2c3d-0001.jpg")
        assert refused.status_code == 404


def test_a_photo_that_was_uploaded_is_not_taken_for_another_of_its_name(client, samples):
    content = (samples / "sneakers.jpg").read_bytes()
    client.post("/api/photos", params={"name": "image.jpg"}, content=content)
    assert predict(client, BOX, photo="/data/upload/1/0a1b2c3d-image.jpg").status_code == 404
