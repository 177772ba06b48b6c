"""How soon the page of `pocketsam serve` shows a mask, in Chromium: python benchmarks/page_speed.py [--runs 7]

Starts the server on a sample photo, and for each run a new browser profile. Prints the medians of the time from
opening the address until the photo is encoded; from there, in the same page, from a click on the shirt until its mask
is drawn; and until the preview under the pointer is drawn. Compares the mask with that of `pocketsam segment`.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from pocketsam.utils.rle import decode

PHOTO = Path(__file__).parents[1] / "samples" / "tshirt.jpg"
SHIRT = (250, 200)
WAIT = 60_000  # milliseconds

# From the pointer's event until the frame is drawn in which the score or the preview appears.
WATCH = """() => {
  const canvas = document.getElementById("canvas");
  const frame = (done) => requestAnimationFrame(() => setTimeout(done)); // after it was drawn
  const context = canvas.getContext("2d");
  const dashes = context.setLineDash.bind(context);
  let moved = 0, clicked = 0;
  canvas.addEventListener("pointermove", () => { moved ||= performance.now(); }, true);
  canvas.addEventListener("pointerup", () => { clicked = performance.now(); }, true);
  context.setLineDash = (pattern) => {
    if (pattern.length && moved) setTimeout(() => { window.preview ??= performance.now() - moved; });
    dashes(pattern);
  };
  new MutationObserver(() => {
    const score = document.querySelector("[data-field=score]");
    if (score?.textContent && clicked) frame(() => { window.click ??= performance.now() - clicked; });
  }).observe(document.getElementById("objects"), { childList: true, subtree: true, characterData: true });
}"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    command = [sys.executable, "-m", "pocketsam"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        place = Path(folder)
        point = ",".join(map(str, SHIRT))
        subprocess.run([*command, "segment", PHOTO, "--point", point, "-o", place / "line.json"], check=True)
        times = []
        for _ in range(runs):
            began = time.monotonic()
            options = ["serve", PHOTO, "-o", place, "--no-browser", "--port", "0"]
            with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
                address = re.match(r"\S+", server.stdout.readline()).group()
                started = time.monotonic() - began
                browser = driver.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                times.append((started, *measure(browser, address)))
                browser.close()
                server.terminate()
            found = json.loads((place / "tshirt.masks.json").read_bytes())["annotations"][0]["segmentation"]
            (place / "tshirt.masks.json").unlink()
        started, opened, preview, click = map(statistics.median, zip(*times, strict=True))
        line = json.loads((place / "line.json").read_bytes())["annotations"][0]["segmentation"]
        ours, theirs = decode(found), decode(line)
        iou = (ours & theirs).sum() / (ours | theirs).sum()
    print(f"medians of {runs} runs: the server is ready after {started:.2f} s")
    print(f"opening the page until the photo is encoded: {opened:.2f} s")
    print(f"the mask under the pointer: {1000 * preview:.0f} ms; the mask of a click: {1000 * click:.0f} ms")
    print(f"IoU of the page's mask and that of `pocketsam segment`: {iou:.4f}")


def measure(browser: Browser, address: str) -> tuple[float, float, float]:
    """Seconds for opening, for a preview and for a click."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto("about:blank")
    began = time.monotonic()
    page.goto(address)
    page.locator("body[data-ready]").wait_for(timeout=WAIT)
    opened = time.monotonic() - began
    page.evaluate(WATCH)
    x, y = page.evaluate("point => pocketsam.toPage(point)", SHIRT)
    page.mouse.move(x, y)
    preview = value(page, "preview")
    page.mouse.click(x, y)
    click = value(page, "click")
    page.locator("#saved", has_text="Saved").wait_for(state="attached", timeout=WAIT)
    return opened, preview, click


def value(page: Page, name: str) -> float:
    """Seconds that the page has measured, as soon as it has."""
    while (milliseconds := page.evaluate(f"window.{name} ?? null")) is None:
        page.wait_for_timeout(20)
    return milliseconds / 1000


if __name__ == "__main__":
    main()
