"""The pictures of the page in docs/pictures/serve/, taken in Chromium: python benchmarks/page_pictures.py [MODEL]"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
WAIT = 60_000  # milliseconds
SHOES = {"left shoe": (20, 130, 342, 371), "right shoe": (195, 1, 413, 193)}
SHIRT = {"shirt": (61, 20, 446, 382)}


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "pocket"
    command = [sys.executable, "-m", "pocketsam", "serve", ROOT / "samples", "--model", model]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        options = ["--no-browser", "--port", "0", "-o", folder]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = re.match(r"\S+", server.stdout.readline()).group()
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            take(
                browser.new_page(viewport={"width": 1200, "height": 740}),
                address,
                "sneakers",
                SHOES,
                "desktop",
            )
            phone = browser.new_page(viewport={"width": 360, "height": 640}, color_scheme="dark")
            take(phone, address, "tshirt", SHIRT, "phone")
            browser.close()
            server.terminate()


def take(page: Page, address: str, photo: str, boxes: dict[str, tuple[int, ...]], name: str) -> None:
    """Draw boxes on a sample photo, name the objects, and take the picture."""
    page.goto(address)
    page.locator("#photo").select_option(label=f"{photo}.jpg")
    entry = page.evaluate("location.hash.slice(1)")
    page.locator(f"body[data-ready='{entry}']").wait_for(timeout=WAIT)
    for i, (label, (x0, y0, x1, y1)) in enumerate(boxes.items()):
        page.keyboard.press("Escape")
        page.mouse.move(*page.evaluate("point => pocketsam.toPage(point)", [x0, y0]))
        page.mouse.down()
        page.mouse.move(*page.evaluate("point => pocketsam.toPage(point)", [x1, y1]), steps=4)
        page.mouse.up()
        row = page.locator("#objects li").nth(i)
        row.locator("[data-field=score]", has_text="%").wait_for(timeout=WAIT)
        row.locator("[data-field=name]").fill(label)
        page.keyboard.press("Enter")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    page.screenshot(path=ROOT / f"docs/pictures/serve/{name}.jpg", type="jpeg", quality=82)


if __name__ == "__main__":
    main()
