"""Chromium, and what a user does and sees on the page of `pocketsam serve`."""

import json
import re
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

CHROMIUM = find_spec("playwright") and (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
"""Its program, or None where it or playwright is missing."""
WAIT = 30_000
"""Milliseconds after which a test gives up."""
SAVED = re.compile("^Saved$")
SHIRT = (250, 200)
"""A pixel on the shirt in tshirt.jpg."""


class Page:
    """What a user does and sees. saved: the folder of the annotations."""

    def __init__(self, page, saved: Path):
        self.page, self.saved = page, saved

    def open(self, address):
        self.page.goto(address)
        self.page.locator("body[data-ready]").wait_for(timeout=WAIT)

    def at(self, x, y):
        return self.page.evaluate("point => pocketsam.toPage(point)", [x, y])

    def click(self, x, y, **how):
        with self.page.expect_response(is_mask, timeout=WAIT):
            self.page.mouse.click(*self.at(x, y), **how)
        self.settle()

    def drag(self, x0, y0, x1, y1):
        with self.page.expect_response(is_mask, timeout=WAIT):
            self.page.mouse.move(*self.at(x0, y0))
            self.page.mouse.down()
            self.page.mouse.move(*self.at(x1, y1), steps=3)
            self.page.mouse.up()
        self.settle()

    def key(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def settle(self):
        """Waits until no mask is awaited and everything is saved."""
        self.page.locator("#saved", has_text=SAVED).wait_for(state="attached", timeout=WAIT)

    def until(self, holds):
        """Waits until holds() is true."""
        deadline = time.monotonic() + WAIT / 1000
        while not holds():
            assert time.monotonic() < deadline, "it did not come to hold"
            self.page.wait_for_timeout(50)

    def rows(self):
        return self.page.locator("#objects li").count()

    def kept(self):
        return int(self.page.locator("#kept").inner_text().split()[1])

    def names(self):
        """The names of the objects that are saved."""
        [file] = self.saved.glob("*.masks.json")
        document = json.loads(file.read_bytes())
        names = {one["id"]: one["name"] for one in document["categories"]}
        return [names[one["category_id"]] for one in document["annotations"]]

    def annotations(self):
        files = list(self.saved.glob("*.masks.json"))
        return json.loads(files[0].read_bytes())["annotations"] if files else []

    def paint(self, *points, button="left"):
        """A stroke of the brush along points of the photo."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down(button=button)
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=3)
        self.page.mouse.up(button=button)
        self.settle()

    def next_photo(self):
        """Goes on to the next photo, and waits until it is encoded."""
        before = self.page.url
        self.page.keyboard.press("ArrowRight")
        self.page.wait_for_url(lambda url: url != before)
        entry = self.page.evaluate("location.hash.slice(1)")
        self.page.locator(f"body[data-ready='{entry}']").wait_for(timeout=WAIT)


def is_mask(response) -> bool:
    """The answer to a prompt; that to a pointer which only hovers is a preview."""
    return response.url.endswith("/masks") and not response.request.post_data_json.get("preview")


def is_fault(message) -> bool:
    """A refused request is none: the page shows why."""
    return message.type == "error" and "Failed to load resource" not in message.text


def slow_down(monkeypatch, engine, seconds):
    """Makes an engine take so long for each call of its decoder."""
    decode = type(engine).decode

    def slow(self, *prompts):
        time.sleep(seconds)
        return decode(self, *prompts)

    monkeypatch.setattr(type(engine), "decode", slow)
