"""The site in a real browser, without a network: masks are compared with the library's own."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from chromium import CHROMIUM, SAVED
from pocketsam import Segmenter
from pocketsam.export.onnxruntime_web import FILES, runtime_files
from pocketsam.export.web import export_web
from pocketsam.utils.rle import decode
from pocketsam.zoo import PACKAGED

RUNTIME = Path(__file__).parents[2] / "web" / "node_modules" / "onnxruntime-web"
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(not (RUNTIME / "dist" / FILES[0]).exists(), reason="needs `make page`'s packages"),
]
WAIT = 120_000  # milliseconds; the model loads in a few seconds on an idle machine
SHIRT, GRASS = (250, 200), (30, 350)
SIDE = 3
"""Of everything mode's grid."""


@pytest.fixture(params=[SIDE])
def site(tmp_path, request):
    """A site of the packaged model, in which everything mode prompts a grid of so many points a side."""
    folder = tmp_path / "site"
    export_web(PACKAGED, folder, runtime_files(RUNTIME))
    config = folder / "model" / "model.json"
    document = json.loads(config.read_text())
    document["config"]["points_per_side"] = request.param
    config.write_text(json.dumps(document))
    return folder


@pytest.fixture
def page(tmp_path):
    sandbox = [] if os.getuid() else ["--no-sandbox"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
        page.set_default_timeout(WAIT)
        failures = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page
        browser.close()
        assert not failures


def click(page, point, **how):
    before = masks(page)
    page.mouse.click(*page.evaluate("point => pocketsam.toPage(point)", list(point)), **how)
    while masks(page) == before:  # not by a function in the page, which its policy does not let in
        page.wait_for_timeout(50)


def masks(page) -> int:
    """How many came from the worker."""
    return page.evaluate("performance.getEntriesByName('pocketsam segment').length")


def exported(page):
    """The annotations as the exported COCO file has them."""
    page.locator("#saved", has_text=SAVED).wait_for(state="attached")
    page.click("#export")
    with page.expect_download() as download:
        page.locator('[data-suffix=".masks.json"]').click()
    return json.loads(Path(download.value.path()).read_bytes())["annotations"]


def iou(rle, other) -> float:
    ours, theirs = decode(rle), decode(other)
    return (ours & theirs).sum() / (ours | theirs).sum()


def test_a_photo_is_segmented_without_a_server_and_without_a_network(page, site, host, samples):
    photo = Segmenter(engine="onnx", precision="float32").open(samples / "tshirt.jpg")
    address, server = host(site)
    page.goto(address)
    page.locator("body[data-model=ready]").wait_for()
    assert page.evaluate("crossOriginIsolated")  # so that there may be threads
    note = page.locator("#note").inner_text()
    assert "Photos stay on this computer" in note
    assert "It uses WebAssembly with" in note  # Chromium has no graphics processor here

    server.shutdown()
    server.server_close()
    requests = []
    page.on("request", lambda request: requests.append((request.method, request.url)))
    page.locator("#files").set_input_files(samples / "tshirt.jpg")
    page.locator("body[data-ready]").wait_for()
    click(page, SHIRT)
    click(page, GRASS, button="right")
    saved = exported(page)
    assert saved[0]["prompt"]["labels"] == [1, 0]
    given = {"points": np.float32(saved[0]["prompt"]["points"]), "labels": [1, 0]}
    assert iou(saved[0]["segmentation"], photo.segment(**given).rle[0]) > 0.99
    page.keyboard.press("Control+z")
    assert iou(exported(page)[0]["segmentation"], photo.segment(points=SHIRT).rle[0]) > 0.99

    page.click("#accept")
    page.click("#everything")
    page.click("#proposals-accept")
    expected = photo.everything(points_per_side=SIDE)
    found = exported(page)[1:]
    assert len(found) == len(expected) > 0
    matched = [max(iou(one["segmentation"], rle) for rle in expected.rle) for one in found]
    assert min(matched) > 0.99
    # Nothing was sent: what the page asked for are files of its own host, and of that only the cache is left.
    assert all(method == "GET" and url.startswith((address, "blob:")) for method, url in requests)

    page.reload()  # without its host: from what the browser keeps
    page.locator("body[data-ready]").wait_for()
    assert page.locator("#objects li").count() == 1 + len(found)
    click(page, GRASS)
    assert page.locator("#objects li").count() == 2 + len(found)


@pytest.mark.parametrize("site", [32], indirect=True)
def test_everything_mode_ends_when_it_is_cancelled(page, site, host, samples):
    page.goto(host(site)[0])
    page.locator("body[data-model=ready]").wait_for()
    page.locator("#files").set_input_files(samples / "tshirt.jpg")
    page.locator("body[data-ready]").wait_for()
    page.click("#everything")
    page.locator('#status-bar:not([value="0"])').wait_for()
    page.click("#status-cancel")
    click(page, SHIRT)
    assert page.locator("#objects li").count() == 1
    assert page.evaluate("performance.getEntriesByName('pocketsam everything').length") == 0
