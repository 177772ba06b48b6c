"""The pictures of the page in docs/pictures/serve/, taken in Chromium: python benchmarks/page_pictures.py [MODEL]

One is of the site that `pocketsam export web` makes.
"""

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
            take_brush(browser.new_page(viewport={"width": 900, "height": 600}), address)
            take_alone(browser.new_page(viewport={"width": 1000, "height": 620}), model, Path(folder))
            browser.close()
            server.terminate()


def open_photo(page: Page, address: str, photo: str) -> None:
    """Open the page and a sample photo, and wait until it is encoded."""
    page.goto(address)
    page.locator("#photo").select_option(label=f"{photo}.jpg")
    entry = page.evaluate("location.hash.slice(1)")
    page.locator(f"body[data-ready='{entry}']").wait_for(timeout=WAIT)


def move(page: Page, x: float, y: float) -> None:
    """Move the mouse to a pixel of the photo."""
    page.mouse.move(*page.evaluate("point => pocketsam.toPage(point)", [x, y]), steps=4)


def screenshot(page: Page, name: str) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=ROOT / f"docs/pictures/serve/{name}.jpg", type="jpeg", quality=82)


def take_brush(page: Page, address: str) -> None:
    """Click on the shirt, and take the picture in the middle of a stroke."""
    open_photo(page, address, "tshirt")
    while page.locator("[data-field=delete]").count():
        page.locator("[data-field=delete]").first.click()
    move(page, 250, 200)
    page.mouse.down()
    page.mouse.up()
    page.locator("[data-field=score]", has_text="%").wait_for(timeout=WAIT)
    page.click("#brush")
    move(page, 150, 380)
    page.mouse.down()
    for point in ((230, 386), (320, 382), (375, 372)):
        move(page, *point)
    screenshot(page, "brush")
    page.mouse.up()


def take_alone(page: Page, model: str, folder: Path) -> None:
    """The site without a server."""
    command = [sys.executable, "-m", "pocketsam", "export", "web", "--model", model, "-o", folder]
    subprocess.run(command, check=True)
    files = [sys.executable, "-m", "http.server", "-d", folder, "--bind", "127.0.0.1", "8321"]
    with subprocess.Popen(files, stderr=subprocess.DEVNULL) as host:
        page.wait_for_timeout(1000)
        page.goto("http://127.0.0.1:8321/")
        page.locator("body[data-model=ready]").wait_for(timeout=WAIT)
        page.locator("#files").set_input_files(ROOT / "samples/tshirt.jpg")
        page.locator("body[data-ready]").wait_for(timeout=WAIT)
        take_boxes(page, SHIRT, "alone")
        host.terminate()


def take(page: Page, address: str, photo: str, boxes: dict[str, tuple[int, ...]], name: str) -> None:
    """Open a sample photo of the server, and take the picture."""
    open_photo(page, address, photo)
    take_boxes(page, boxes, name)


def take_boxes(page: Page, boxes: dict[str, tuple[int, ...]], name: str) -> None:
    """Draw boxes on the photo that is open, name the objects, and take the picture."""
    for i, (label, (x0, y0, x1, y1)) in enumerate(boxes.items()):
        page.keyboard.press("Escape")
        move(page, x0, y0)
        page.mouse.down()
        move(page, x1, y1)
        page.mouse.up()
        row = page.locator("#objects li").nth(i)
        row.locator("[data-field=score]", has_text="%").wait_for(timeout=WAIT)
        row.locator("[data-field=name]").fill(label)
        page.keyboard.press("Enter")
    page.mouse.move(0, 0)
    screenshot(page, name)


if __name__ == "__main__":
    main()
