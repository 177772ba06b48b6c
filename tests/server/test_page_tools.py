"""The tools of the page in a real browser: preview, brush, progress, keyboard; and that nothing is lost."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chromium import CHROMIUM, SAVED, WAIT, Page, slow_down
from pocketsam import Segmenter
from pocketsam.utils.rle import decode

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium and playwright")


def test_a_preview_is_shown_under_the_pointer_and_saves_nothing(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    before = page.page.locator("#canvas").screenshot()
    with page.page.expect_response(
        lambda response: response.url.endswith("/masks"), timeout=WAIT
    ) as response:
        page.page.mouse.move(*page.at(200, 150))
    assert response.value.request.post_data_json["preview"]
    page.until(lambda: page.page.locator("#canvas").screenshot() != before)
    page.page.mouse.move(1, 1)
    page.until(lambda: page.page.locator("#canvas").screenshot() == before)
    assert page.annotations() == []
    page.page.keyboard.press("p")
    page.page.mouse.move(*page.at(210, 150))
    page.page.wait_for_timeout(300)
    page.page.locator("#toast").evaluate("toast => toast.remove()")
    assert page.page.locator("#canvas").screenshot() == before


def test_the_brush_adds_and_erases_can_be_undone_and_is_saved(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    clicked = decode(page.annotations()[0]["segmentation"])
    page.page.keyboard.press("b")
    page.paint((20, 500), (120, 500))
    added = decode(page.annotations()[0]["segmentation"])
    assert added[500, 25:115].all()
    assert (added & clicked == clicked).all()
    page.paint((180, 150), (220, 150), button="right")
    erased = decode(page.annotations()[0]["segmentation"])
    assert not erased[150, 180:220].any()
    assert [one["adds"] for one in page.annotations()[0]["prompt"]["strokes"]] == [True, False]
    page.key("Control+z")
    assert (decode(page.annotations()[0]["segmentation"]) == added).all()
    page.key("Control+Shift+z")
    page.key("b")
    page.click(205, 160)  # the strokes stay on the mask of a further click
    assert not decode(page.annotations()[0]["segmentation"])[150, 180:220].any()
    page.page.reload()
    page.page.locator("#objects li").wait_for(timeout=WAIT)
    assert len(page.annotations()[0]["prompt"]["strokes"]) == 2


def test_an_object_can_be_painted_without_a_click(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.page.click("#brush")
    page.page.mouse.click(*page.at(50, 60), button="right")
    assert "Choose an object first" in page.page.locator("#toast").inner_text()
    page.paint((50, 60), (90, 60))
    [one] = page.annotations()
    assert decode(one["segmentation"])[60, 50:90].all()
    assert one["prompt"]["points"] == []


def test_everything_shows_progress_and_can_be_ended(page, serve, engine, monkeypatch):
    slow_down(monkeypatch, engine, 0.3)
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.page.keyboard.press("e")
    page.page.locator('#status-bar:not([value="0"])').wait_for(timeout=WAIT)
    page.page.click("#status-cancel")
    page.page.locator("#status").wait_for(state="hidden", timeout=WAIT)
    assert not page.page.locator("#proposals").is_visible()
    count = len(engine.decoded)
    page.page.wait_for_timeout(1500)
    assert len(engine.decoded) <= count + 2  # the server has ended, too


def test_all_can_be_done_by_keys_and_is_said(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    said = page.page.locator("#announcement")
    assert "cap.jpg is ready" in said.inner_text()
    page.page.locator("#canvas").focus()
    page.key("ArrowUp", "Shift+ArrowLeft", " ")
    said.filter(has_text="% of the photo").wait_for(timeout=WAIT, state="attached")
    page.settle()
    np.testing.assert_allclose(page.annotations()[0]["prompt"]["points"], [[199, 267 - 534 / 40]], atol=0.01)
    page.key("Shift+ArrowDown", "Shift+Space")
    page.settle()
    assert page.annotations()[0]["prompt"]["labels"] == [1, 0]
    page.key("Enter")
    assert "accepted" in said.inner_text()
    page.key("c", "ArrowRight", "ArrowDown", "c")
    page.page.locator("#objects li").nth(1).wait_for(timeout=WAIT)
    page.settle()
    assert page.annotations()[1]["prompt"]["box"][2] > page.annotations()[1]["prompt"]["box"][0]


def test_the_focus_goes_from_the_photos_to_the_canvas_the_tools_and_the_objects(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg"))
    page.click(200, 150)
    visited = []
    for _ in range(30):
        page.page.keyboard.press("Tab")
        focused = page.page.evaluate(
            "document.activeElement.id || document.activeElement.dataset.field || ''"
        )
        if focused in visited:
            break
        visited.append(focused)
    first = visited.index("photo")
    visited = visited[first:] + visited[:first]  # the click has moved the focus
    order = [
        visited.index(one)
        for one in ("photo", "next", "export", "canvas", "add", "brush", "undo", "name", "delete")
    ]
    assert order == sorted(order)


def test_photos_keep_their_own_annotations(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg"))
    page.click(200, 150)
    page.next_photo()
    assert page.rows() == 0
    page.page.keyboard.press("ArrowLeft")
    page.page.locator("#objects li").wait_for(timeout=WAIT)


@pytest.fixture
def command(tmp_path, samples):
    """`pocketsam serve` in a process of its own; gives its address and the process."""
    processes = []

    def start(port=0):
        words = ["serve", samples / "cap.jpg", "-o", tmp_path, "--no-browser", "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, "-m", "pocketsam", *words], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return re.match(r"\S+", process.stdout.readline()).group(), process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_nothing_is_lost_when_the_browser_or_the_server_is_killed(browser, command, tmp_path):
    address, server = command()
    context = browser.new_context()
    page = Page(context.new_page(), tmp_path)
    page.open(address)
    page.click(200, 150)
    saved = page.annotations()[0]["segmentation"]

    server.kill()  # what is done now is kept in the browser
    server.wait()
    page.page.locator("[data-field=name]").fill("hat")
    page.page.keyboard.press("Enter")
    page.page.locator("#saved", has_text="Not saved yet").wait_for(state="attached", timeout=WAIT)
    page.page.close(run_before_unload=False)  # as a crash of the page

    address, server = command(port=int(address.rpartition(":")[2].strip("/")))
    page = Page(context.new_page(), tmp_path)
    page.open(address)
    page.page.locator("#saved", has_text=SAVED).wait_for(state="attached", timeout=WAIT)
    assert page.page.locator("[data-field=name]").input_value() == "hat"
    document = json.loads((tmp_path / "cap.masks.json").read_bytes())
    assert document["categories"][0]["name"] == "hat"
    assert document["annotations"][0]["segmentation"] == saved

    server.send_signal(signal.SIGKILL)  # and while the page stays open, it is tried again
    server.wait()
    page.page.locator("[data-field=name]").fill("cap")
    page.page.keyboard.press("Enter")
    page.page.locator("#saved", has_text="Not saved yet").wait_for(state="attached", timeout=WAIT)
    command(port=int(address.rpartition(":")[2].strip("/")))
    page.page.locator("#saved", has_text=re.compile("^Saved$")).wait_for(state="attached", timeout=WAIT)
    assert json.loads((tmp_path / "cap.masks.json").read_bytes())["categories"][0]["name"] == "cap"
    context.close()


def test_no_control_leaves_its_place_at_any_width(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    outside = """() => {
      const stage = document.querySelector(".stage").getBoundingClientRect();
      const isOutside = (one) => {
        const { left, right } = one.getBoundingClientRect();
        const [from, to] = one.closest(".tools") ? [stage.left, stage.right] : [0, innerWidth];
        return one.offsetParent && (left < from || right > to);
      };
      return [...document.querySelectorAll(".tools button, header button, header select")].filter(isOutside).length;
    }"""
    for width in (320, 360, 480, 720, 724, 800, 900, 1000, 1040, 1280, 1920):
        page.page.set_viewport_size({"width": width, "height": 640})
        assert page.page.evaluate(outside) == 0, width
        assert page.page.evaluate("document.documentElement.scrollWidth") == width


def test_all_photos_are_exported_together(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg"))
    page.click(200, 150)
    page.next_photo()
    page.click(200, 150)
    page.page.click("#export")
    page.page.check("#all-photos")
    with page.page.expect_download(timeout=WAIT) as download:
        page.page.locator('[data-suffix=".json"]').click()
    document = json.loads(Path(download.value.path()).read_bytes())
    assert [one["file_name"] for one in document["images"]] == ["cap.jpg", "tshirt.jpg"]
