"""CVAT's requests: those of its agent, by its own code, and those to a Nuclio function, as its server sends them."""

import base64
import json
from io import BytesIO
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from pocketsam import Segmenter
from pocketsam.server import cvat
from pocketsam.utils.rle import encode

WIDTH, HEIGHT = 400, 534
CLICK, AWAY = (200.0, 160.0), (20.0, 26.0)
BOX = ((40.0, 53.0), (240.0, 267.0))
PROMPTS = {
    "click": ([CLICK], [], None, {"points": [CLICK]}),
    "clicks": ([CLICK], [AWAY], None, {"points": [CLICK, AWAY], "labels": [1, 0]}),
    "box": ([], [], BOX, {"boxes": [*BOX[0], *BOX[1]]}),
    "box and clicks": (
        [CLICK],
        [AWAY],
        BOX,
        {"points": [CLICK, AWAY], "labels": [1, 0], "boxes": [*BOX[0], *BOX[1]]},
    ),
}
prompts = pytest.mark.parametrize(("on", "off", "box", "ours"), PROMPTS.values(), ids=PROMPTS)


class Response(NamedTuple):
    """Nuclio's."""

    body: str
    headers: dict[str, str]
    content_type: str
    status_code: int


@pytest.fixture
def opened(engine, monkeypatch, samples):
    """cap.jpg, opened by the engine that the functions get, too."""
    segmenter = Segmenter(engine=engine)
    monkeypatch.setattr(cvat, "Segmenter", lambda *given, **options: segmenter)
    return segmenter.open(samples / "cap.jpg")


@pytest.fixture
def call(opened, samples):
    """Calls the Nuclio function as CVAT's lambda manager does."""
    context = SimpleNamespace(user_data=SimpleNamespace(), Response=Response)
    cvat.init_context(context)
    image = base64.b64encode((samples / "cap.jpg").read_bytes()).decode()

    def send(**fields):
        return cvat.handler(context, SimpleNamespace(body={"image": image, **fields}))

    return send


@prompts
def test_a_nuclio_function_answers_with_mask_and_outline(call, opened, on, off, box, ours):
    response = call(
        pos_points=[list(p) for p in on], neg_points=[list(p) for p in off], obj_bbox=box and list(box)
    )
    assert (response.status_code, response.content_type) == (200, "application/json")
    answer = json.loads(response.body)
    mask = np.array(answer["mask"])
    assert mask.shape == (HEIGHT, WIDTH)
    expected = opened.segment(**ours).binary[0]
    np.testing.assert_array_equal(mask.astype(bool), expected)
    x, y = np.array(answer["points"]).T
    rows, columns = np.nonzero(expected)
    assert (x.min(), x.max()) == (columns.min(), columns.max() + 1)
    assert (y.min(), y.max()) == (rows.min(), rows.max() + 1)


def test_a_photo_is_encoded_once_for_all_clicks(call, engine):
    before = len(engine.encoded)
    for x in (100.0, 200.0, 300.0):
        assert call(pos_points=[[x, 160.0]], neg_points=[]).status_code == 200
    assert len(engine.encoded) == before + 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pos_points": [], "neg_points": []}, "no click and no box"),
        ({"pos_points": [[4000, 20]], "neg_points": []}, "outside the photo"),
        ({"pos_points": [["a", 2]], "neg_points": []}, "could not convert"),
        ({"pos_points": [[200, 160]], "image": "%%%"}, "not in base64"),
        ({"pos_points": [[200, 160]], "image": "QUJD"}, "not an image"),
        ({"neg_points": []}, "pos_points"),
    ],
)
def test_bad_requests_get_a_line(call, fields, words):
    response = call(**fields)
    assert response.status_code == 400
    assert words in json.loads(response.body)["error"]


@prompts
def test_cvats_agent_gets_the_mask(opened, samples, on, off, box, ours):
    """Its own driver calls the function, and its own code reads the mask."""
    interaction = pytest.importorskip("cvat_cli._internal.agent_driver_interaction")
    from cvat_cli._internal.agent import get_function_driver_class
    from cvat_cli._internal.agent_driver import set_worker_current_function
    from cvat_cli._internal.common import FunctionLoader
    from cvat_sdk.masks import decode_mask

    function = FunctionLoader("pocketsam.server.cvat", None, {"model": "pocket"}).load()
    set_worker_current_function(function)
    driver_class = get_function_driver_class(function.spec)
    assert driver_class is interaction.AgentInteractionFunctionDriver
    assert driver_class.get_remote_function_fields(function.spec) == {
        "min_pos_points": 0,
        "min_neg_points": 0,
        "startswith_box_optional": True,
    }
    driver_class.init_worker(None)
    driver = driver_class(None, _HereAndNow(), function.spec)
    driver._get_sample_from_ar_params = lambda _: (_Sample(samples / "cap.jpg"), [])
    request = {
        "type": "interact",
        "task": 1,
        "frame": 0,
        "pos_points": [list(p) for p in on],
        "neg_points": [list(p) for p in off],
        "obj_bbox": [list(corner) for corner in box or ()],
    }
    (shape,) = driver.calculate_result_for_ar(request, None)["shapes"]
    assert shape["type"] == "mask"
    expected = opened.segment(**ours)
    mask = decode_mask(shape["points"], image_width=WIDTH, image_height=HEIGHT)
    np.testing.assert_array_equal(mask, expected.binary[0])
    (confidence,) = shape["attributes"]
    assert float(confidence["value"]) == pytest.approx(expected.predicted_iou[0], abs=1e-4)


class _HereAndNow:
    """Stands in for the agent's pool of processes."""

    def submit(self, work, *given):
        return work(*given)

    def result(self, done):
        return done


class _Sample:
    """A frame of a task, without the server that has it."""

    def __init__(self, path):
        self.media = self
        self.load_image = lambda: Image.open(BytesIO(path.read_bytes()))


def test_the_outline_is_that_of_the_largest_part_not_of_the_most_jagged(monkeypatch):
    mask = np.zeros((300, 300), bool)
    mask[20:220, 20:220] = True
    mask[240:250:2, 240:245] = mask[240:250, 240:245:2] = True
    masks = SimpleNamespace(rle=[encode(mask)], binary=mask[None])
    monkeypatch.setattr(cvat, "_photo", lambda *_: None)
    monkeypatch.setattr(cvat, "_segment", lambda *_: masks)
    points = np.array(cvat._answer(None, {"image": "", "pos_points": []})["points"])
    assert (points.min(), points.max()) == (20, 220)
