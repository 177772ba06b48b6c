"""How much memory everything mode takes for very large images: 24 million pixels, and 20000 × 300.

Run: python benchmarks/everything_memory.py -o docs/everything.md
"""

import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from everything_common import ROOT, Page, Threads, grid_name, machine, progress, publish
from PIL import Image

from pocketsam import Segmenter
from pocketsam.evaluation.results import Table


def main(
    output: Page = Path("everything.md"),
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid.")] = 64,
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help="onnx, openvino or torch; the first two if not given."),
    ] = None,
    threads: Threads = 2,
) -> None:
    """Seconds and peak memory for very large photos, each in a process of its own."""
    lines = []
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        cases = list(product(large_photos(Path(folder)), engines or ("onnx", "openvino"), (False, True)))
        steps = bar.add_task("photos", total=len(cases))
        for photo, engine, hierarchical in cases:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                found = process.submit(alone, photo, points_per_side, engine, threads, hierarchical).result()
            seconds = [f"{found[name]:.1f}" for name in ("opening", "everything")]
            memory = [f"{found[name] / 2**20:.0f}" for name in ("loaded", "opened", "peak")]
            lines.append(
                [photo.stem, engine, grid_name(hierarchical), str(found["masks"]), *seconds, *memory]
            )
            bar.advance(steps)
    headings = ["photo", "engine", "clicks", "masks", "opening, s", "everything, s"]
    headings += ["model loaded, MB", "photo opened, MB", "peak, MB"]
    publish(
        output,
        "everything_memory.py",
        f"## Memory\n\n`pocket`, {points_per_side} × {points_per_side} clicks on photos laid out of the samples, each"
        " in a process of its own. Memory is the most that the process has taken, interpreter and libraries included:"
        f" once the model is loaded, once the photo is open, and in the end. {machine(threads)}.\n\n"
        + Table("Large photos", headings, lines).markdown(),
    )


def alone(photo: Path, points_per_side: int, engine: str, threads: int, hierarchical: bool) -> dict[str, Any]:
    """One image in a process of its own: seconds, masks, and bytes of memory."""
    segmenter = Segmenter("pocket", engine, threads=threads)
    loaded, start = peak_memory(), perf_counter()
    opened = segmenter.open(photo)
    after_opening, middle = peak_memory(), perf_counter()
    masks = len(opened.everything(points_per_side=points_per_side, hierarchical=hierarchical))
    seconds = {"opening": middle - start, "everything": perf_counter() - middle}
    memory = {"loaded": loaded, "opened": after_opening, "peak": peak_memory()}
    return {**seconds, **memory, "masks": masks}


def peak_memory() -> int:
    """The most bytes that this process has taken."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would begin with the peak of the process that started this one
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def large_photos(folder: Path) -> list[Path]:
    """A photo of 24 million pixels and a panorama, laid out of the samples."""
    samples = sorted((ROOT / "samples").glob("*.jpg"))
    photos = []
    for width, height, tile in ((6000, 4000, 1000), (20000, 300, 300)):
        page = Image.new("RGB", (width, height))
        for i, (y, x) in enumerate(product(range(0, height, tile), range(0, width, tile))):
            with Image.open(samples[i % len(samples)]) as sample:
                page.paste(sample.convert("RGB").resize((tile, tile), Image.Resampling.BICUBIC), (x, y))
        photos.append(folder / f"{width} × {height}.jpg")
        page.save(photos[-1], quality=92)
    return photos


if __name__ == "__main__":
    typer.run(main)
