"""The page in a real browser, on the interim or the final model alike: masks are compared with the library's own."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from chromium import CHROMIUM, SHIRT, WAIT, Page, is_mask, slow_down
from pocketsam import Segmenter
from pocketsam.predict.formats import FORMATS
from pocketsam.utils.rle import decode

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium and playwright")


def iou(rle, other) -> float:
    ours, theirs = decode(rle), decode(other)
    return (ours & theirs).sum() / (ours | theirs).sum()


def test_prompts_on_the_shirt_give_the_masks_of_the_library(page, serve, segmenter, samples):
    segment = partial(segmenter.open(samples / "tshirt.jpg").segment, zoom=True, refine=True)
    page.open(serve(segmenter, "tshirt.jpg"))

    page.click(*SHIRT)
    one_click = segment(points=SHIRT).rle[0]
    assert iou(page.annotations()[0]["segmentation"], one_click) > 0.99

    page.click(30, 350, button="right")
    both = segment(points=[SHIRT, (30, 350)], labels=[1, 0]).rle[0]
    assert iou(page.annotations()[0]["segmentation"], both) > 0.99
    assert page.annotations()[0]["prompt"]["labels"] == [1, 0]

    page.key("Control+z")
    assert iou(page.annotations()[0]["segmentation"], one_click) > 0.99
    page.key("Control+Shift+z")
    assert iou(page.annotations()[0]["segmentation"], both) > 0.99

    page.key("Enter")
    page.drag(61, 20, 446, 382)
    assert page.rows() == 2
    drawn = page.annotations()[1]
    np.testing.assert_allclose(drawn["prompt"]["box"], (61, 20, 446, 382), atol=0.01)
    assert iou(drawn["segmentation"], segment(boxes=drawn["prompt"]["box"]).rle[0]) > 0.99

    page.page.reload()  # nothing is lost
    page.page.locator("#objects li").nth(1).wait_for(timeout=WAIT)
    assert page.rows() == 2
    page.page.keyboard.press("Control+z")  # there is nothing to undo yet
    page.page.wait_for_timeout(200)
    assert len(page.annotations()) == 2


def test_alt_and_the_tool_remove_too_and_names_colours_and_visibility_are_kept(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    page.page.keyboard.down("Alt")
    page.click(20, 20)
    page.page.keyboard.up("Alt")
    page.page.click("#remove")
    page.click(30, 500)
    assert page.annotations()[0]["prompt"]["labels"] == [1, 0, 0]
    page.page.locator("[data-field=name]").fill("hat")
    page.page.keyboard.press("Enter")
    page.page.locator("[data-field=visible]").click()
    page.settle()
    assert page.annotations()[0]["prompt"]["visible"] is False
    page.page.reload()
    page.page.locator("#objects li.hidden").wait_for(timeout=WAIT)
    assert page.page.locator("[data-field=name]").input_value() == "hat"
    page.page.locator("[data-field=delete]").click()
    page.settle()
    assert page.annotations() == []


def test_a_negative_click_needs_an_object(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.page.mouse.click(*page.at(20, 20), button="right")
    assert "Click on an object first" in page.page.locator("#toast").inner_text()
    assert page.rows() == 0


def test_everything_is_found_and_kept_or_dropped_by_click(page, serve, engine, monkeypatch):
    monkeypatch.setattr(
        type(engine),
        "config",
        engine.config.__class__(
            **{**vars(engine.config), "stability_score_thresh": 0.0, "points_per_side": 4}
        ),
    )
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.page.keyboard.press("e")
    page.page.locator("#proposals").wait_for(timeout=WAIT)
    found = page.kept()
    page.page.mouse.click(*page.at(200, 250))
    assert page.kept() == found - 1
    page.page.mouse.click(*page.at(200, 250))
    assert page.kept() == found
    page.page.mouse.click(*page.at(200, 250))
    page.key("Enter")
    assert len(page.annotations()) == found - 1
    assert not page.page.locator("#proposals").is_visible()


def test_every_format_is_downloaded(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    for suffix in (suffix for format in FORMATS for suffix in format.suffixes):
        page.page.click("#export")
        with page.page.expect_download(timeout=WAIT) as download:
            page.page.locator(f'[data-suffix="{suffix}"]').click()
        assert download.value.suggested_filename.endswith(suffix)
        assert Path(download.value.path()).stat().st_size > 0


def test_photos_follow_each_other_and_can_be_added(page, serve, engine, samples):
    page.open(serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg"))
    assert page.page.title() == "cap.jpg · PocketSAM"
    page.page.keyboard.press("ArrowRight")
    page.until(lambda: page.page.locator("#position").inner_text() == "2 of 2")
    assert page.page.locator("#next").is_disabled()
    page.page.locator("#files").set_input_files(samples / "sneakers.jpg")
    page.page.locator("#position", has_text="3 of 3").wait_for(timeout=WAIT)
    page.page.locator("#files").set_input_files(Path(__file__))
    page.page.locator("#toast", has_text="is not an image").wait_for(timeout=WAIT)


def test_a_mask_that_is_awaited_when_the_next_photo_is_opened_is_kept(page, serve, engine, monkeypatch):
    slow_down(monkeypatch, engine, 0.5)
    page.open(serve(Segmenter(engine=engine), "cap.jpg", "tshirt.jpg"))
    page.page.keyboard.press("p")  # no preview delays the click
    page.page.mouse.click(*page.at(200, 150))
    assert page.page.locator("#saved").inner_text() == "Saving…"
    page.next_photo()
    assert page.rows() == 0
    page.page.keyboard.press("ArrowLeft")
    page.page.locator("#objects li").wait_for(timeout=WAIT)
    assert len(page.annotations()) == 1


def test_an_empty_page_takes_a_photo(page, serve, engine, samples):
    page.page.goto(serve(Segmenter(engine=engine)))
    page.page.locator(".welcome").wait_for(timeout=WAIT)
    page.page.locator("#files").set_input_files(samples / "sneakers.jpg")
    page.page.locator("body[data-ready]").wait_for(timeout=WAIT)
    page.click(200, 200)
    assert page.rows() == 1


def test_wheel_zooms_space_pans_and_clicks_still_hit(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.page.mouse.move(*page.at(200, 150))
    page.page.mouse.wheel(0, -300)
    page.page.wait_for_timeout(50)
    x, y = page.at(200, 150)
    page.page.keyboard.down(" ")
    page.page.mouse.down()
    page.page.mouse.move(x + 60, y + 40)
    page.page.mouse.up()
    page.page.keyboard.up(" ")
    np.testing.assert_allclose(page.at(200, 150), (x + 60, y + 40), atol=0.5)
    page.click(200, 150)
    np.testing.assert_allclose(page.annotations()[0]["prompt"]["points"], [[200, 150]], atol=0.5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_in_its_width(browser, serve, engine, tmp_path, scheme):
    context = browser.new_context(viewport={"width": 360, "height": 640}, color_scheme=scheme, has_touch=True)
    page = Page(context.new_page(), tmp_path)
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    assert page.page.evaluate("document.documentElement.scrollWidth") == 360
    for button in page.page.locator("header button, .tools button").all():
        if button.is_visible():
            box = button.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
    with page.page.expect_response(is_mask, timeout=WAIT):
        page.page.touchscreen.tap(*page.at(200, 150))
    page.page.locator("#objects li").wait_for(timeout=WAIT)
    context.close()


def test_controls_have_names(page, serve, engine):
    page.open(serve(Segmenter(engine=engine), "cap.jpg"))
    page.click(200, 150)
    unnamed = page.page.evaluate(
        "[...document.querySelectorAll('button, select, input:not([hidden])')]"
        ".filter(one => !one.getAttribute('aria-label') && !one.textContent.trim() && !one.closest('label')).length"
    )
    assert unnamed == 0
    page.page.keyboard.press("?")
    assert page.page.locator("#help").is_visible()
    page.page.keyboard.press("Escape")
    assert not page.page.locator("#help").is_visible()
    page.page.click("#export")
    assert page.page.locator("#formats").is_visible()
    page.page.keyboard.press("Escape")
    assert not page.page.locator("#formats").is_visible()
