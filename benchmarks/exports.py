"""What a model's programs for other runtimes weigh, how exact and how fast they are.

    pip install executorch litert-torch coremltools
    python benchmarks/exports.py pocket -o docs/exports.md

Every target of `pocketsam export` that consists of two programs is written into out/exports and, where its runtime is
here, run on the photos of samples/ with one click each. Printed are the largest difference from PyTorch, in standard
deviations σ of PyTorch's numbers; the least and the mean IoU of masks with PyTorch's; and the milliseconds of the
encoder and the decoder, with one thread. With --calibrate PHOTOS, INT8 encoders are measured as well; the
decoder then gets what the encoder gives.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from pocketsam.data.calibration import calibration_images
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.results import Table
from pocketsam.export.programs import export_programs, programs
from pocketsam.export.targets import TARGETS
from pocketsam.export.targets.base import ProgramTarget, QuantizableTarget
from pocketsam.models.checkpoints import load_model
from pocketsam.predict.image import load_image, preprocess
from pocketsam.zoo import locate_weights

ROOT = Path(__file__).parents[1]
OUT = Path("out/exports")
DECODER = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
Arrays = Sequence[NDArray[np.generic]]
Run = Callable[[Arrays], list[NDArray[np.float32]]]


def openvino(path: Path) -> Run:
    import openvino as ov

    compiled = ov.Core().compile_model(
        path, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    )

    def run(inputs: Arrays) -> list[NDArray[np.float32]]:
        found = compiled(list(inputs))
        return [np.asarray(found[port]) for port in compiled.outputs]

    return run


def litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    signature = interpreter.get_signature_runner()

    def run(inputs: Arrays) -> list[NDArray[np.float32]]:
        names = ["image"] if len(inputs) == 1 else DECODER
        found = signature(**dict(zip(names, inputs, strict=True)))
        return [found[f"output_{i}"] for i in range(len(found))]

    return run


def executorch(path: Path) -> Run:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def run(inputs: Arrays) -> list[NDArray[np.float32]]:
        return [
            tensor.numpy() for tensor in method.execute([torch.from_numpy(np.array(one)) for one in inputs])
        ]

    return run


RUNTIMES: dict[str, Callable[[Path], Run]] = {
    "openvino": openvino,
    "litert": litert,
    "executorch": executorch,
}
"""How a target's files are run here."""


def main(
    model: Annotated[
        str, typer.Argument(help="A model's name, its folder or a checkpoint, with weights.")
    ] = "pocket",
    output: Annotated[Path | None, typer.Option("-o", help="Also write the table into this page.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this target; may be repeated.")] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option("--calibrate", help="Also measure INT8 encoders, calibrated with these photos."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each photo.")] = 5,
) -> None:
    """Export to every target, run what runs here, and print a table."""
    torch.set_num_threads(1)
    sam, config = load_model(*locate_weights(model, "export"))
    encoder, decoder = programs(sam)
    photos = sorted((ROOT / "samples").glob("*.jpg"))
    images = [preprocess(load_image(path), config) for path in photos]
    prompt = [tensor.numpy().copy() for tensor in list(decoder.inputs.values())[1:]]
    prompt[1][:] = [[1, -1]]
    with torch.no_grad():
        embeddings = [encoder.module(torch.from_numpy(image)).contiguous().numpy() for image in images]
        masks = [
            [tensor.numpy() for tensor in decoder.module(*map(torch.from_numpy, (embedding, *prompt)))]
            for embedding in embeddings
        ]
    lines = [
        [
            "PyTorch",
            "",
            "",
            "",
            "",
            *_times(_torch(encoder), _torch(decoder), images, embeddings, prompt, repeats),
            "",
        ]
    ]
    for label, target in _rows(only, calibration or []):
        print(f"pocketsam export {target.name} {model} ({label})", flush=True)
        files = export_programs(
            sam, config, target.output, target.suffix, target.writer(config, calibration_images)
        )
        size = sum(_bytes(path) for path in target.output.iterdir() if path.name != files[-1].name) / 1e6
        if target.name not in RUNTIMES:
            lines.append([label, f"{size:.1f}", "", "", "", "", "", "converted only"])
            continue
        encode, decode = (RUNTIMES[target.name](path) for path in files if path.suffix == target.suffix)
        errors, ious = [], []
        for image, embedding, (logits, _) in zip(images, embeddings, masks, strict=True):
            found = encode([image])[0]
            own = decode([embedding if "INT8" not in label else found, *prompt])[0]
            errors += [_error(found, embedding), _error(own, logits)]
            ious += [iou(one > 0, other > 0) for one, other in zip(own[0], logits[0], strict=True)]
        times = _times(encode, decode, images, embeddings, prompt, repeats)
        lines.append(
            [
                label,
                f"{size:.1f}",
                f"{max(errors):.1e}",
                f"{min(ious):.4f}",
                f"{mean(ious):.4f}",
                *times,
                "ran here",
            ]
        )
    table = Table(
        "",
        ["target", "MB", "largest difference, σ", "least IoU", "mean IoU", "encoder, ms", "decoder, ms", ""],
        lines,
    )
    print(table.markdown())
    if output is not None:
        output.write_text(_page(table, model, config.weights[:12], len(photos)))
        print(f"Written to {output}")


def _rows(only: list[str] | None, calibration: list[Path]) -> Iterator[tuple[str, ProgramTarget]]:
    """The targets that are measured, by their names in the table."""
    for name, target in TARGETS.items():
        if (only and name not in only) or not issubclass(target, ProgramTarget):
            continue
        yield name, target(output=OUT / name)
        if calibration and issubclass(target, QuantizableTarget):
            yield f"{name}, INT8 encoder", target(output=OUT / f"{name}-int8", calibration=calibration)


def _torch(program: Any) -> Run:
    def run(inputs: Arrays) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            found = program.module(*(torch.from_numpy(np.asarray(one)) for one in inputs))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]

    return run


def _times(
    encode: Run, decode: Run, images: Arrays, embeddings: Arrays, prompt: Arrays, repeats: int
) -> Iterator[str]:
    """The median milliseconds of both programs, after one run that is not counted."""
    for run, inputs in (
        (encode, [[image] for image in images]),
        (decode, [[e, *prompt] for e in embeddings]),
    ):
        run(inputs[0])
        times = []
        for given in inputs * repeats:
            start = perf_counter()
            run(given)
            times.append(1000 * (perf_counter() - start))
        yield f"{median(times):.0f}"


def _error(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    return float(np.abs(found - exact).max() / exact.std())


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) or path.stat().st_size


def _page(table: Table, model: str, digest: str, photos: int) -> str:
    head = Path(__file__).with_name("exports_page.md").read_text()
    return head.format(table=table.markdown().strip(), model=model, digest=digest, photos=photos)


if __name__ == "__main__":
    typer.run(main)
