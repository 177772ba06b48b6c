"""Every model on every engine: size, work, speed, memory. Run: python benchmarks/models.py table -o docs/speed.md

Weights are random, which changes neither the work nor the time. `pocketsam.evaluation.protocols.efficiency` measures.
The page has a section for each processor; a run writes that of its own. Keep the machine free.
"""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from pocketsam.evaluation.protocols.efficiency import measure_efficiency
from pocketsam.evaluation.timing import BenchmarkCase
from pocketsam.models.architectures import ARCHITECTURES
from pocketsam.zoo import MODELS

# (engine, precision). The first is what the others are measured against. Processors without bfloat16 emulate it.
ENGINES = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
PUBLISHED = [name for name, architecture in ARCHITECTURES.items() if architecture.published]
LARGE = ("sam_vit_l", "sam_vit_h")
"""Their engines run one after the other: side by side they would take up to 36 GB."""
JOBS = ("encode", "decode 1", "decode 64")
INSTRUCTIONS = {
    "amx_bf16": "AMX with bfloat16",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512f": "AVX-512 without bfloat16",
    "avx2": "AVX2, which has no bfloat16",
}
"""By the flags of Linux, the widest first."""
PAGE = """# Speed

<!-- written by: python benchmarks/models.py table -o docs/speed.md -->

Architectures on every engine, with random weights: a section for each processor, which is of one run.
"""

app = typer.Typer(pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Every model on every engine: size, work, speed, memory."""


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
    for name in track(models or PUBLISHED, console=Console(stderr=True), description="models"):
        for row in measure(name, threads, device, seconds):
            rows.append(row)
            print(name, row["engine"], row["precision"], row["seconds"], row["peak_bytes"], file=sys.stderr)
    section = "\n".join(markdown(rows, threads, device, seconds))
    print(section)
    if output:
        output.write_text(with_section(output.read_text() if output.exists() else PAGE, section))


def measure(name: str, threads: int, device: str, seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each engine: a model made for the purpose, its costs and its work."""
    engines = (
        [one for one in ENGINES if has_bfloat16() or one[1] != "bfloat16"] if device == "cpu" else ENGINES[:2]
    )
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # gives back the memory it takes
            alone.submit(make, name, Path(folder)).result()
        cases = [BenchmarkCase(folder, engine, device, precision, threads) for engine, precision in engines]
        for group in [[one] for one in cases] if name in LARGE else [cases]:
            numbers = measure_efficiency(group, seconds=seconds).numbers
            for row in numbers["cases"]:
                yield row | numbers["work"][folder] | {"model": name}


def make(name: str, folder: Path) -> None:
    """Write a model with random weights in every form."""
    import torch

    from pocketsam.export.onnx import export_onnx
    from pocketsam.models.checkpoints import FILE_NAME, save_model

    torch.manual_seed(0)
    config = MODELS[name].config
    sam = ARCHITECTURES[name].build(config.image_size).eval().requires_grad_(False)
    save_model(folder / FILE_NAME, sam.state_dict(), config)
    export_onnx(sam, config, folder)


def with_section(page: str, section: str) -> str:
    """The page with a section, in the place of an earlier one with the same heading."""
    head, *others = page.split("\n## ")
    title = section.splitlines()[0]
    kept = [f"## {other.rstrip()}" for other in others if f"## {other.splitlines()[0]}" != title]
    return "\n\n".join([head.rstrip(), section, *kept]) + "\n"


def markdown(rows: list[dict[str, Any]], threads: int, device: str, seconds: float) -> Iterator[str]:
    """A section of the page: how it was measured, the table, and how much faster the best engine is."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    yield f"## {processor()}\n"
    names = " ".join(dict.fromkeys(row["model"] for row in rows))
    yield f"`python benchmarks/models.py table {names} --seconds {seconds:g} -o docs/speed.md`\n"
    yield (
        f"{threads} threads of {os.cpu_count()} {platform.machine()} cores, device {device}; {packages};"
        f" Python {platform.python_version()}. Batch 1."
    )
    yield (
        "Encoder: one image at the model's input size. Decoder: prompts of one click, 1 and 64 at a time, on one"
        f" image. Medians after a warm-up (what takes over {2 * seconds:g} s, once). The engines of a model take"
        f" turns, call by call; those of {' and '.join(LARGE)} run one after the other."
        " Peak memory is the process's, interpreter and libraries included.\n"
    )
    yield (
        "| model | input | parameters, M | encoder / decoder, GMAC | engine | precision"
        " | encoder, ms | 1 prompt, ms | 64 prompts, ms | peak, MB |"
    )
    yield "|---|--:|--:|--:|---|---|--:|--:|--:|--:|"
    for row in rows:
        first = (row["engine"], row["precision"]) == ENGINES[0]
        work = f"{row['encoder_macs'] / 1e9:.1f} / {row['decoder_macs'] / 1e9:.2f}"
        head = f"{row['model']} | {row['image_size']}² | {row['parameters'] / 1e6:.1f} | {work}"
        times = " | ".join(f"{1e3 * median(row, job):.1f}" for job in JOBS)
        peak = f"{row['peak_bytes'] / 2**20:.0f}"
        yield f"| {head if first else ' | | | '} | {row['engine']} | {row['precision']} | {times} | {peak} |"
    yield "\nHow many times faster than PyTorch eager in float32, in the same run:\n"
    yield "| model | engine | precision | encoder | 1 prompt | 64 prompts |"
    yield "|---|---|---|--:|--:|--:|"
    for name in dict.fromkeys(row["model"] for row in rows):
        plain, *others = [row for row in rows if row["model"] == name]
        for row in others:
            ratios = " | ".join(f"{median(plain, job) / median(row, job):.1f}" for job in JOBS)
            yield f"| {name} | {row['engine']} | {row['precision']} | {ratios} |"


def median(row: dict[str, Any], job: str) -> float:
    return float(row["seconds"][job]["median"])


def has_bfloat16() -> bool:
    """Whether the processor computes in it."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def processor() -> str:
    """The processor's name and the widest of the instructions that matter here, where the system tells."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in fields.items()}
    widest = next((flag for flag in INSTRUCTIONS if flag in known.get("flags", "").split()), "")
    return ", ".join(filter(None, (known.get("model name", "unknown processor"), INSTRUCTIONS.get(widest))))


if __name__ == "__main__":
    app()
