"""Saving on the page, in a real browser: with others at work, and with requests that fail."""

import json
from pathlib import Path

import pytest

from chromium import CHROMIUM, WAIT, Page
from pocketsam import Segmenter

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium and playwright")


def test_two_who_annotate_one_photo_keep_the_objects_of_both(page, browser, serve, engine, tmp_path):
    url = serve(Segmenter(engine=engine), "cap.jpg")
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    other = Page(context.new_page(), tmp_path)
    page.open(url)
    other.open(url)
    page.click(200, 150)
    other.click(50, 60)
    assert other.rows() == 2
    assert "Somebody else has annotated this photo" in other.page.locator("#toast").inner_text()
    assert len(page.annotations()) == 2
    other.key("Control+z")  # takes back what was done here alone
    assert other.rows() == 1
    page.key("Enter")
    page.click(300, 400)
    assert page.rows() == 2  # what the other has deleted stays deleted
    assert len(page.annotations()) == 2
    context.close()


def test_what_another_changes_is_not_doubled(page, browser, serve, engine, tmp_path):
    url = serve(Segmenter(engine=engine), "cap.jpg")
    page.open(url)
    page.click(200, 150)
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    other = Page(context.new_page(), tmp_path)
    other.open(url)
    other.page.locator("[data-field=name]").fill("cap")
    other.page.keyboard.press("Enter")
    other.settle()
    page.key("Enter")
    page.click(50, 60)
    assert sorted(page.names()) == ["cap", "object"]
    assert page.rows() == 2
    page.key("Control+z")
    assert page.names() == ["cap"]
    context.close()


def test_an_answer_that_is_lost_doubles_nothing(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)

    losing = [True]

    def lose(route):
        if route.request.method != "PUT" or not losing:
            return route.fallback()
        route.fetch()
        return route.abort()

    page.page.route("**/annotations", lose)
    for name in ("hat", "cap"):
        page.page.locator("[data-field=name]").fill(name)
        page.page.keyboard.press("Enter")
        page.page.locator("#saved", has_text="Not saved yet").wait_for(state="attached", timeout=WAIT)
    losing.clear()
    page.settle()
    assert page.names() == ["cap"]
    assert page.rows() == 1


def test_a_photo_that_is_opened_again_while_it_is_saved_loses_nothing(page, browser, serve, engine, tmp_path):
    url = serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg")
    page.open(url)
    page.click(200, 150)
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    other = Page(context.new_page(), tmp_path)
    other.open(url)
    other.page.keyboard.press("Enter")
    other.click(50, 60)
    context.close()
    waiting = []
    page.page.route(
        "**/annotations",
        lambda route: waiting.append(route) if route.request.method == "PUT" else route.fallback(),
    )
    page.page.keyboard.press("Enter")
    page.page.mouse.click(*page.at(300, 400))
    page.until(lambda: waiting)
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("ArrowLeft")
    waiting.pop().continue_()
    page.page.unroute_all()
    for route in waiting:
        route.continue_()
    page.page.locator("#objects li").nth(2).wait_for(timeout=WAIT)
    page.settle()
    assert len(page.annotations()) == 3


def test_work_that_was_not_saved_joins_what_others_saved_meanwhile(page, browser, serve, engine, tmp_path):
    url = serve(Segmenter(engine=engine), "cap.jpg")
    page.open(url)
    page.page.route(
        "**/annotations", lambda route: route.abort() if route.request.method == "PUT" else route.fallback()
    )
    page.page.mouse.click(*page.at(200, 150))
    page.page.locator("#saved", has_text="Not saved yet").wait_for(state="attached", timeout=WAIT)
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    other = Page(context.new_page(), tmp_path)
    other.open(url)
    other.click(50, 60)
    context.close()
    page.page.on("dialog", lambda dialog: dialog.accept())  # that there are unsaved changes
    page.page.unroute("**/annotations")
    page.page.reload()
    page.page.locator("#objects li").nth(1).wait_for(timeout=WAIT)
    page.until(lambda: len(page.annotations()) == 2)


def test_a_photo_that_cannot_be_saved_does_not_hold_up_the_others(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg"))
    first = page.page.evaluate("location.hash.slice(1)")
    refusal = {
        "status": 404,
        "content_type": "application/json",
        "body": json.dumps({"error": "there is no such photo"}),
    }
    page.page.route(
        f"**/{first}/annotations",
        lambda route: route.fulfill(**refusal) if route.request.method == "PUT" else route.fallback(),
    )
    page.page.mouse.click(*page.at(200, 150))
    page.page.locator("#toast", has_text="there is no such photo").wait_for(timeout=WAIT)
    page.page.click("#export")
    page.page.locator("#formats [data-suffix]").first.click()
    page.page.locator("#toast", has_text="Not exported").wait_for(timeout=WAIT)
    page.next_photo()
    page.page.mouse.click(*page.at(200, 150))
    page.until(lambda: [file.name for file in page.saved.glob("*.masks.json")] == ["tshirt.masks.json"])
    page.page.unroute_all()
    page.settle()
    assert len(list(page.saved.glob("*.masks.json"))) == 2


def test_a_prompt_that_fails_is_taken_back_and_nothing_else(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    refusal = {
        "status": 400,
        "content_type": "application/json",
        "body": json.dumps({"error": "it did not work"}),
    }
    waiting = []
    page.page.route("**/masks", lambda route: waiting.append(route))  # noqa: PLW0108  (playwright marks functions)
    page.page.keyboard.press("p")  # no preview
    page.page.mouse.click(*page.at(50, 60))
    page.until(lambda: waiting)
    page.page.locator("[data-field=name]").fill("hat")
    page.page.keyboard.press("Enter")
    waiting.pop().fulfill(**refusal)
    page.page.locator("#toast", has_text="it did not work").wait_for(timeout=WAIT)
    page.settle()
    [one] = page.annotations()
    assert one["prompt"]["points"] == [pytest.approx([200, 150], abs=0.5)]
    assert page.page.locator("[data-field=name]").input_value() == "hat"
    page.key("Escape")
    page.page.mouse.click(*page.at(300, 400))
    page.until(lambda: waiting)
    page.page.keyboard.press("Escape")
    waiting.pop().fulfill(**refusal)
    page.settle()
    assert page.rows() == 1


def test_an_export_waits_for_the_mask_that_is_awaited(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    waiting = []
    page.page.route("**/masks", lambda route: waiting.append(route))  # noqa: PLW0108  (playwright marks functions)
    page.page.keyboard.press("p")
    page.key("Enter")
    page.page.mouse.click(*page.at(50, 60))
    page.until(lambda: waiting)
    page.page.click("#export")
    with page.page.expect_download(timeout=WAIT) as download:
        page.page.locator('[data-suffix=".json"]').click()
        waiting.pop().continue_()
    assert len(json.loads(Path(download.value.path()).read_bytes())["annotations"]) == 2


def test_clicks_are_not_for_an_object_that_is_hidden(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    page.page.locator("[data-field=visible]").click()
    page.click(200, 150)
    assert [len(one["prompt"]["points"]) for one in page.annotations()] == [1, 1]


def test_a_stroke_beside_the_photo_begins_no_object(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.page.keyboard.press("b")
    page.page.mouse.click(*page.at(-60, 200))
    assert page.rows() == 0
    page.paint((50, 60), (90, 60))
    assert page.rows() == 1
