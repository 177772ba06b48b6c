"""Everything mode on a graphics processor: milliseconds beside what its arithmetic and bandwidth allow.

Run: python benchmarks/everything_gpu.py -o docs/everything.md
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from everything_common import POCKET, ROOT, Page, decode_all, grid_name, progress, publish, timed
from numpy.typing import NDArray

from pocketsam import Segmenter
from pocketsam.evaluation.results import Table
from pocketsam.evaluation.timing import single_clicks, take_turns
from pocketsam.predict.image import load_image

if TYPE_CHECKING:
    from pocketsam.engines.torch import TorchEngine


def main(
    output: Page = Path("everything.md"),
    photo: Annotated[Path, typer.Option(help="For everything mode.")] = ROOT / "samples/sneakers.jpg",
    model: Annotated[Path, typer.Option(help="A checkpoint.")] = POCKET,
    float32: Annotated[float | None, typer.Option(help="Tflop/s; measured if not given.")] = None,
    bfloat16: Annotated[float | None, typer.Option(help="Tflop/s; measured if not given.")] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="GB/s of its memory; measured if not given.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Measure each for so long, and 3 times.")] = 2,
) -> None:
    """Encoder, decoder and everything mode in PyTorch on a GPU, beside what the chip allows."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("gpu: PyTorch finds no CUDA device here")
    chip = measure_chip("cuda")
    given = {"float32": float32, "bfloat16": bfloat16}
    rates = {name: 1e12 * rate if rate else chip.flops[name] for name, rate in given.items()}
    chip = replace(chip, flops=rates, bandwidth=1e9 * bandwidth if bandwidth else chip.bandwidth)
    table = gpu_table(model, "cuda", chip, load_image(photo), seconds)
    publish(
        output,
        "everything_gpu.py",
        f"## On a graphics processor\n\n{torch.cuda.get_device_name()}, torch {torch.__version__};"
        f" {model.parent.name}, through the engine: arrays in the host's memory go in and come out. The chip's rates:"
        f" {chip}. At these, “arithmetic” is the least that multiply-adds take; “memory”, that weights, inputs and"
        " outputs take, each moved once; “to the host”, that results take on their way back. Rates not given"
        " were measured in this run, by large products and copies. Convolutions in float32 may use TF32, PyTorch's"
        f" default, and beat float32's arithmetic.\n\n{table.markdown()}",
    )


@dataclass(frozen=True)
class Job:
    """Something to time: so many images or clicks, multiply-adds, and bytes moved there and sent back; 0: unknown."""

    name: str
    call: Callable[[], object]
    count: int
    macs: int = 0
    moved: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Chip:
    """A graphics processor's rates: flop/s by precision, bytes/s in its memory and to the host."""

    flops: dict[str, float]
    bandwidth: float
    to_host: float

    def __str__(self) -> str:
        flops = ", ".join(f"{rate / 1e12:.1f} Tflop/s in {name}" for name, rate in self.flops.items())
        return (
            f"{flops}, {self.bandwidth / 1e9:.0f} GB/s in its memory and {self.to_host / 1e9:.1f} to the host"
        )

    def least_seconds(self, precision: str, job: Job) -> list[float]:
        """What a job takes at least: of arithmetic, of memory, of results on their way to the host."""
        return [2 * job.macs / self.flops[precision], job.moved / self.bandwidth, job.sent / self.to_host]


def gpu_table(model: Path, device: str, chip: Chip, image: NDArray[np.uint8], seconds: float) -> Table:
    """A line for each job, in each precision, compiled or not."""
    from pocketsam.engines.torch import TorchEngine

    cases = list(product((False, True), chip.flops))
    lines = []
    with progress() as bar:
        steps = bar.add_task("ways to run", total=len(cases))
        for compiled, precision in cases:
            engine = TorchEngine.load(model, device, precision, compile=compiled)
            # The same, but its operations can be counted.
            eager = TorchEngine(engine.sam, engine.config, precision)
            for job in gpu_jobs(engine, eager, image):
                for _ in range(3):  # compiling is no part of it
                    job.call()
                (taken,) = take_turns([partial(timed, job.call)], seconds)
                way = [precision, "yes" if compiled else "no"]
                lines.append([*way, *gpu_line(job, median(taken), chip.least_seconds(precision, job))])
            bar.advance(steps)
    headings = ["precision", "compiled", "job", "ms", "a second", "GMAC"]
    headings += ["arithmetic, ms", "memory, ms", "to the host, ms", "of what is possible, %"]
    return Table("Medians, beside the least that the chip takes", headings, lines)


def gpu_line(job: Job, seconds: float, least: list[float]) -> list[str]:
    cells = [job.name, f"{1e3 * seconds:.2f}", f"{job.count / seconds:.1f}"]
    if not job.macs:
        return [*cells, *["–"] * 5]
    arithmetic, memory, to_host = least  # arithmetic and memory overlap
    possible = (max(arithmetic, memory) + to_host) / seconds
    return [*cells, f"{job.macs / 1e9:.2f}", *(f"{1e3 * one:.3f}" for one in least), f"{100 * possible:.0f}"]


def gpu_jobs(engine: "TorchEngine", eager: "TorchEngine", image: NDArray[np.uint8]) -> Iterator[Job]:
    """What `engine` is timed at; the operations are counted on `eager`, which is not compiled."""
    size, number = engine.config.image_size, engine.dtype.itemsize
    pixels = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    embedding = eager.encode(pixels)
    encoder, decoder = (
        number * sum(weights.numel() for weights in part.parameters())
        for part in (engine.sam.image_encoder, engine.sam.mask_decoder)
    )
    macs = count_macs(partial(eager.encode, pixels))
    moved = encoder + number * (pixels.size + embedding.size)
    yield Job("encode", partial(engine.encode, pixels), 1, macs, moved, embedding.nbytes)

    prepared, counted = engine.prepare(embedding), eager.prepare(embedding)
    of_image = decoder + number * sum(part.numel() for part in counted)
    for count in (1, 64, 1024):
        clicks = single_clicks(engine.config, count)[:2]
        macs = count_macs(partial(eager.predict_iou, counted, *clicks))
        yield Job(
            f"predict IoU {count}",
            partial(engine.predict_iou, prepared, *clicks),
            count,
            macs,
            of_image,
            16 * count,
        )
        macs = count_macs(partial(decode_all, eager, counted, *clicks))
        logits = 4 * count * (size // 4) ** 2
        decode = partial(decode_all, engine, prepared, *clicks)
        yield Job(f"decode masks {count}", decode, count, macs, of_image + number * logits, 4 * logits)

    segmenter = Segmenter(engine=engine)
    for hierarchical in (False, True):
        job = partial(open_and_segment, segmenter, image, hierarchical=hierarchical)
        yield Job(f"everything, {grid_name(hierarchical)}", job, 1)


def open_and_segment(segmenter: Segmenter, image: NDArray[np.uint8], **options: Any) -> None:
    segmenter.open(image).everything(**options)


def count_macs(call: Callable[[], object]) -> int:
    """The multiply-adds of the convolutions and matrix products in a call."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # written out: the counter does not know every fused kernel
        call()
    return counter.get_total_flops() // 2


def measure_chip(device: str, size: int = 8192) -> Chip:
    """The rates of large matrix products, and of large copies: within the memory, and into the host's."""
    import torch

    flops = {}
    for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        flops[name] = 2 * size**3 / fastest(partial(torch.matmul, a, b))
    a = torch.randn(4, size, size, device=device)
    b = torch.empty_like(a)
    bandwidth = 2 * a.nbytes / fastest(partial(b.copy_, a))  # read once, written once
    return Chip(flops, bandwidth, a.nbytes / fastest(partial(a.to, "cpu", copy=True)))


def fastest(call: Callable[[], object], runs: int = 10) -> float:
    """Seconds, the least of so many calls after one that does not count."""
    import torch

    def done() -> None:
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    done()
    return min(timed(done) for _ in range(runs))


if __name__ == "__main__":
    typer.run(main)
