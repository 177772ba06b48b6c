"""Every model on every engine: size, work, speed, memory. Run: python benchmarks/models.py table -o docs/speed.md

Weights are random, which changes neither the work nor the time. Each row is a process of its own, so that its peak
memory is its own; times are medians after a warm-up, and all rows of one table are of one run. Keep the machine free.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from pocketsam.description import Description
from pocketsam.zoo import MODELS

# (engine, precision). The first is what the others are measured against.
ENGINES = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
ARCHITECTURES = (
    "pocket",
    "mobile_sam",
    "efficient_sam_ti",
    "efficient_sam_s",
    "slimsam_77",
    "slimsam_50",
    "sam_vit_b",
    "sam_vit_l",
    "sam_vit_h",
)
PROMPTS = (1, 64)

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def table(
    models: Annotated[list[str] | None, typer.Argument(help="Architectures; all, if not given.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, or cuda for PyTorch's rows.")] = "cpu",
    seconds: Annotated[float, typer.Option(help="Measure each for so long, and 3 times.")] = 5,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the page here too.")] = None,
) -> None:
    """Print the table as Markdown."""
    rows = []
    for name in track(models or ARCHITECTURES, console=Console(stderr=True), description="models"):
        with tempfile.TemporaryDirectory() as folder:
            facts = in_process("make", name, folder)
            for engine, precision in ENGINES if device == "cpu" else ENGINES[:2]:
                measured = in_process(
                    "measure", folder, engine, precision, device, str(threads), str(seconds)
                )
                rows.append({"model": name, **facts, "engine": engine, "precision": precision, **measured})
                print(rows[-1], file=sys.stderr)
    page = "\n".join(markdown(rows, threads, device))
    print(page)
    if output:
        output.write_text(page + "\n")


@app.command()
def make(name: str, folder: Path) -> None:
    """Write a model with random weights in every form; print its parameters and multiply-adds as JSON."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from pocketsam.export.onnx import export_onnx
    from pocketsam.models.checkpoints import FILE_NAME, save_model
    from pocketsam.models.sam import count_parameters

    description = MODELS[name].description
    size, side = description.image_size, description.image_size // 16
    torch.manual_seed(0)
    sam = build(name, description).eval().requires_grad_(False)
    prompt = torch.zeros(1, 1, 2, 2), torch.tensor([[[1, -1]]])
    jobs: dict[str, Callable[[], object]] = {
        "encoder": lambda: sam.encode(torch.zeros(1, 3, size, size)),
        "decoder": lambda: sam.decode(torch.zeros(1, 256, side, side), *prompt),
    }
    macs = {}
    for part, job in jobs.items():
        # written out: the counter does not know the fused kernel of the CPU
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            job()
        macs[part] = counter.get_total_flops() / 2
    save_model(folder / FILE_NAME, sam.state_dict(), description)
    export_onnx(sam, description, folder)
    print(json.dumps({"parameters": count_parameters(sam), **macs}))


def build(name: str, description: Description) -> Any:
    """The architecture with random weights."""
    from pocketsam.models import sam, sam_vit

    sizes = {  # width, depth, heads, hidden, global blocks
        "slimsam_77": (168, 12, 12, 696, (2, 5, 8, 11)),
        "slimsam_50": (384, 12, 12, 1536, (2, 5, 8, 11)),
        "sam_vit_l": (1024, 24, 16, 4096, (5, 11, 17, 23)),
        "sam_vit_h": (1280, 32, 16, 5120, (7, 15, 23, 31)),
    }
    if name in sizes:
        return sam.Sam(sam_vit.SamViT(*sizes[name]), description.image_size)
    return sam.MODELS[name](description.image_size)


@app.command()
def measure(folder: Path, engine: str, precision: str, device: str, threads: int, seconds: float) -> None:
    """One row: milliseconds of the encoder and of the decoder, and the process's peak memory, as JSON."""
    from pocketsam.engines import open_engine

    runs = open_engine(folder, engine, device=device, precision=precision, threads=threads)
    size = runs.description.image_size
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 3, size, size)).astype(np.float32)
    times = {"encode": median(lambda: runs.encode(image), seconds)}
    embedding = runs.encode(image)
    for n in PROMPTS:
        points = (rng.random((n, 2, 2)) * size).astype(np.float32)
        labels = np.tile(np.array([1, -1], np.int32), (n, 1))
        masks = np.zeros((n, 1, size // 4, size // 4), np.float32), np.zeros(n, np.float32)
        times[f"decode {n}"] = median(lambda p=(points, labels, *masks): runs.decode(embedding, *p), seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes, on Linux
    if device == "cuda":
        import torch

        peak = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({**times, "peak": peak}))


def median(job: Callable[[], object], seconds: float) -> float:
    """Milliseconds of `job`, after a call that does not count: the median of calls that take `seconds` in all.

    Three calls at least; where that would take over ten seconds, as many as it takes to get there.
    """
    job()
    taken: list[float] = []
    while sum(taken) < seconds or (len(taken) < 3 and sum(taken) < 10):
        start = perf_counter()
        job()
        taken.append(perf_counter() - start)
    return 1000 * statistics.median(taken)


def in_process(*arguments: str) -> dict[str, Any]:
    """The JSON that one of this script's commands prints, run alone."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def markdown(rows: list[dict[str, Any]], threads: int, device: str) -> Iterator[str]:
    """The page: how it was measured, the table, and how much faster the best engine is."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    yield "# Speed\n"
    yield "<!-- written by: python benchmarks/models.py table -o docs/speed.md -->\n"
    yield (
        f"Every architecture on every engine, in one run: {threads} threads of {os.cpu_count()}"
        f" {platform.machine()} cores ({processor()}), device {device}; {packages};"
        f" Python {platform.python_version()}. Random weights, batch 1."
    )
    yield (
        "Encoder: one image at the model's input size. Decoder: prompts of one click, 1 and 64 at a time, on one"
        " image. Medians after a warm-up (what takes over 10 s, once)."
        " Peak memory is the process's, interpreter and libraries included.\n"
    )
    yield (
        "| model | input | parameters, M | encoder / decoder, GMAC | engine | precision"
        " | encoder, ms | 1 prompt, ms | 64 prompts, ms | peak, MB |"
    )
    yield "|---|--:|--:|--:|---|---|--:|--:|--:|--:|"
    for row in rows:
        first = (row["engine"], row["precision"]) == ENGINES[0]
        size = MODELS[row["model"]].description.image_size
        work = f"{row['encoder'] / 1e9:.1f} / {row['decoder'] / 1e9:.2f}"
        head = f"{row['model']} | {size}² | {row['parameters'] / 1e6:.1f} | {work}" if first else " | | | "
        times = " | ".join(f"{row[key]:.1f}" for key in ("encode", "decode 1", "decode 64"))
        yield f"| {head} | {row['engine']} | {row['precision']} | {times} | {row['peak']:.0f} |"
    yield "\nHow many times faster than PyTorch eager in float32, in the same run:\n"
    yield "| model | engine | precision | encoder | 1 prompt | 64 prompts |"
    yield "|---|---|---|--:|--:|--:|"
    for name in dict.fromkeys(row["model"] for row in rows):
        plain, *others = [row for row in rows if row["model"] == name]
        for row in others:
            ratios = " | ".join(f"{plain[key] / row[key]:.1f}" for key in ("encode", "decode 1", "decode 64"))
            yield f"| {name} | {row['engine']} | {row['precision']} | {ratios} |"


def processor() -> str:
    """The processor's name, where the system tells."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    app()
