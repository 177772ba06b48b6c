"""The site of `pocketsam export web` in Chromium: how long a photo and a click take, and whether masks are Python's.

    pip install '.[dev]'
    python benchmarks/browser.py samples/*.jpg --threads 2

For each photo: the time from adding it until it is encoded, the median time of a click until its mask is there, and
the lowest IoU of a mask with that of the library's ONNX engine. The first photo is opened twice: the first time does
not count. It needs Chromium; ONNX Runtime Web is fetched once, or comes from --onnxruntime-web FOLDER.
"""

import base64
import functools
import os
import shutil
import statistics
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from playwright.sync_api import Page, sync_playwright

from pocketsam import Segmenter
from pocketsam.export.onnxruntime_web import runtime_files
from pocketsam.export.web import export_web
from pocketsam.utils.rle import decode
from pocketsam.zoo import locate_onnx

PLACES = ((0.5, 0.5), (0.35, 0.4), (0.65, 0.4), (0.4, 0.65), (0.6, 0.7))
"""Of the clicks, in widths and heights of the photo."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
WAIT = 600_000  # milliseconds
OPEN = """async ([bytes, name, id]) => {
  const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  await pocketsam.backend.store.add({ id, name }, new Blob([content]));
  const start = performance.now();
  const { width, height } = await pocketsam.backend.openPhoto(id);
  return [width, height, performance.now() - start];
}"""
CLICK = """async ([id, x, y]) => {
  const start = performance.now();
  const { rle } = await pocketsam.backend.segment(id, { points: [[x, y]], labels: [1], box: null });
  return [rle, performance.now() - start];
}"""


def main(
    photos: Annotated[list[Path], typer.Argument(help="Photos.")],
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "pocket",
    threads: Annotated[int, typer.Option(min=1, help="Threads of WebAssembly.")] = 2,
    onnxruntime_web: Annotated[Path | None, typer.Option(help="The folder of npm's package.")] = None,
) -> None:
    source = locate_onnx(model)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        export_web(source, Path(folder), runtime_files(onnxruntime_web))
        program = next(filter(None, map(shutil.which, CHROMIUM)), None)
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        browser = driver.chromium.launch(executable_path=program, args=sandbox)
        page = browser.new_page()
        page.goto(f"{_serve(Path(folder))}?threads={threads}")
        page.locator("body[data-model=ready]").wait_for(timeout=WAIT)
        runs = page.locator("#note").inner_text().rpartition("It uses ")[2]
        print(f"Chromium {browser.version}: {runs} Times in ms, the median of {len(PLACES)} clicks")
        segmenter = Segmenter(source, engine="onnx", precision="float32")
        _measure(page, segmenter, photos[0], "warm")
        rows = [_measure(page, segmenter, path, str(i)) for i, path in enumerate(photos)]
        browser.close()
    for path, row in zip(photos, rows, strict=True):
        size = f"{row.width} × {row.height}"
        print(
            f"{path.name:24} {size:>12}  opened {row.opened:5.0f}  click {row.click:5.0f}  IoU {row.iou:.4f}"
        )
    opened, click = (
        statistics.median(values) for values in ([row.opened for row in rows], [row.click for row in rows])
    )
    print(
        f"{'median':38} opened {opened:5.0f}  click {click:5.0f}  lowest IoU {min(row.iou for row in rows):.4f}"
    )


class Row(NamedTuple):
    """Of a photo: its size, milliseconds to open it, median milliseconds of a click, lowest IoU of a mask."""

    width: int
    height: int
    opened: float
    click: float
    iou: float


def _measure(page: Page, segmenter: Segmenter, path: Path, id: str) -> Row:
    photo = segmenter.open(path)
    width, height, opened = page.evaluate(OPEN, [base64.b64encode(path.read_bytes()).decode(), path.name, id])
    times, ious = [], []
    for x, y in PLACES:
        point = width * x, height * y
        rle, milliseconds = page.evaluate(CLICK, [id, *point])
        times.append(milliseconds)
        ious.append(_iou(rle, photo.segment(points=point).rle[0]))
    return Row(width, height, opened, statistics.median(times), min(ious))


def _iou(rle: dict[str, Any], other: dict[str, Any]) -> float:
    ours, theirs = decode(rle), decode(other)
    union = (ours | theirs).sum()
    return float((ours & theirs).sum() / union) if union else 1.0


def _serve(folder: Path) -> str:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


if __name__ == "__main__":
    typer.run(main)
