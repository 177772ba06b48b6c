"""`pocketsam quantize`: a model in 8 bits that runs in integers, or in fewer bits to be evaluated."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketsam.errors import InputError
from pocketsam.utils.install import how_to_install

if TYPE_CHECKING:
    from torch import Tensor

    from pocketsam.config import ModelConfig
    from pocketsam.models.sam import Sam
    from pocketsam.quantization.search import Scales
    from pocketsam.quantization.settings import Settings


class Form(str, Enum):
    """What a quantised model can be written as."""

    onnx = "onnx"
    scales = "scales"


def quantize(
    model: Annotated[
        str,
        typer.Argument(help="A model's name, a folder with its weights, or a checkpoint.", metavar="MODEL"),
    ],
    calibration: Annotated[
        list[Path],
        typer.Option(
            "--calibrate",
            help="Photos like those to come: a folder, tar shards, a COCO JSON; masks are not needed. Repeatable.",
            metavar="PHOTOS",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", metavar="OUT")],
    bits: Annotated[int, typer.Option(help="Of weights and activations, 2 to 16.", metavar="N")] = 8,
    weight_bits: Annotated[
        int | None, typer.Option(help="Of weights, where they differ.", metavar="N", show_default=False)
    ] = None,
    activation_bits: Annotated[
        int | None, typer.Option(help="Of activations, where they differ.", metavar="N", show_default=False)
    ] = None,
    to: Annotated[
        Form | None,
        typer.Option(
            help="onnx: files that compute with 8-bit integers, the default for 8 bits. scales: the weights and their"
            " scales, which engine fake-quant computes in float, for any number of bits.",
            show_default=False,
        ),
    ] = None,
    full_range: Annotated[
        bool,
        typer.Option(
            "--full-range",
            help="All 8 bits of weights in ONNX files, for processors with VNNI; on others they overflow with 8.",
        ),
    ] = False,
    method: Annotated[
        str,
        typer.Option(
            help="How scales are found: minmax, percentile, mse, output or hessian.", metavar="METHOD"
        ),
    ] = "hessian",
    rounds: Annotated[
        int, typer.Option(help="Of the alternating search; 1 searches for each scale alone.", metavar="N")
    ] = 3,
    one_scale: Annotated[
        bool, typer.Option("--one-scale", help="Give the results of softmax and GELU one scale, not two.")
    ] = False,
    photos: Annotated[int, typer.Option(min=1, help="How many photos to calibrate by.", metavar="N")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; all, if not given.", metavar="N")
    ] = None,
) -> None:
    """Quantise a model by TinySAM's method: scales for every matrix product, found by a few photos.

    The same command goes on where a killed run stopped.
    """
    from pocketsam.quantization.settings import Settings
    from pocketsam.utils.files import check_writable

    weight_bits, activation_bits = weight_bits or bits, activation_bits or bits
    to = to or (Form.onnx if weight_bits <= 8 and activation_bits == 8 else Form.scales)
    if to is Form.onnx and (weight_bits > 8 or activation_bits != 8):
        raise InputError(
            f"--to onnx: the files have 8-bit integers, not {weight_bits} bits for weights and {activation_bits} for"
            " activations; leave the bits out, or give --to scales"
        )
    if to is Form.onnx:  # what the files compute is what is searched for
        weight_bits = weight_bits if full_range else min(weight_bits, 7)
        one_scale = True
    settings = Settings(weight_bits, activation_bits, method, rounds, not one_scale)  # type: ignore[arg-type]
    check_writable(output, missing=True)
    _refuse_mixture(output, to)
    sam, config = _open(model)
    images = _images(calibration, photos, config)
    scales = _calibrate(sam, config, images, settings, output, threads)
    _write(sam, config, images, scales, settings, to, output)


def _refuse_mixture(output: Path, to: Form) -> None:
    """InputError where files of another model lie in the folder: a folder is one model."""
    from pocketsam.engines.source import QUANTIZED_FILE, WEIGHTS_FILE
    from pocketsam.graphs import ONNX_FILES

    others = (WEIGHTS_FILE, QUANTIZED_FILE) if to is Form.onnx else (WEIGHTS_FILE, *ONNX_FILES)
    for file in (output / name for name in others):
        if file.exists():
            raise InputError(f"{file}: is of another model; give another -o, or delete it")


def _open(model: str) -> "tuple[Sam, ModelConfig]":
    """The model in float. Raises ModelError where there are no weights, InputError where PyTorch is not installed."""
    from pocketsam.engines.source import weights_file
    from pocketsam.errors import ModelError
    from pocketsam.zoo import locate

    try:
        from pocketsam.models.checkpoints import load_model
    except ModuleNotFoundError as error:
        raise InputError(f"quantising needs {error.name}: {how_to_install('export')}") from error
    source, config = locate(model)
    weights = weights_file(source)
    if weights is None:
        raise ModelError(
            f"{source}: holds no weights to quantise, but files that are exported or quantised already; give the"
            " checkpoint that they were made of"
        )
    return load_model(weights, config)


def _images(paths: Sequence[Path], count: int, config: "ModelConfig") -> "list[Tensor]":
    """Photos spread evenly over a dataset, preprocessed. Raises InputError where one cannot serve."""
    import torch

    from pocketsam.data.datasets import open_dataset
    from pocketsam.predict.image import preprocess

    dataset = open_dataset(paths, labelled=False)
    total = len(dataset)
    chosen = sorted({number * total // count for number in range(count)})
    images = []
    for number in chosen:
        sample = dataset.read(number)
        if (sample.image == sample.image[:1, :1]).all():
            raise InputError(
                f"{sample.place or sample.name}: is of one colour, which shows no range; take it away"
            )
        images.append(torch.from_numpy(preprocess(sample.image, config)))
    return images


def _calibrate(
    sam: "Sam",
    config: "ModelConfig",
    images: "list[Tensor]",
    settings: "Settings",
    output: Path,
    threads: int | None,
) -> "dict[str, Scales]":
    """Under a progress bar; what is found is kept in a journal, until the model is written."""
    import hashlib

    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pocketsam.engines import cores
    from pocketsam.quantization.calibrate import calibrate
    from pocketsam.quantization.model import fold_batch_norm
    from pocketsam.utils.journal import Journal

    torch.set_num_threads(threads or cores())
    digests = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
    journal = Journal(
        output / JOURNAL, {"weights": config.weights, "settings": repr(settings), "images": digests}
    )
    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("products", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, total=total, completed=done)

        try:
            return calibrate(
                fold_batch_norm(sam),
                images,
                settings,
                pad_points_to=config.pad_points_to,
                journal=journal,
                after_product=show,
            )
        except KeyboardInterrupt:
            typer.echo(
                "pocketsam: stopped; the scales so far are kept, and the same command goes on", err=True
            )
            raise


JOURNAL = "scales.jsonl"


def _write(
    sam: "Sam",
    config: "ModelConfig",
    images: "list[Tensor]",
    scales: "dict[str, Scales]",
    settings: "Settings",
    to: Form,
    output: Path,
) -> None:
    from pocketsam.quantization.model import FILE_NAME, fold_batch_norm, numerics, save_quantized

    paths: Sequence[Path]
    if to is Form.scales:
        save_quantized(output, sam, config, scales, settings)
        paths = [output / FILE_NAME]
    else:
        from pocketsam.quantization.onnx import export_int8

        config = replace(config, numerics=numerics(settings, scales))
        paths = export_int8(fold_batch_norm(sam), config, scales, images, settings, output)
    (output / JOURNAL).unlink(missing_ok=True)
    kind = f"{settings.weight_bits}-bit weights, {settings.activation_bits}-bit activations"
    typer.echo(f"{output}: {config.name} in {kind}; {len(scales)} products, by {settings.method}")
    for path in paths:
        typer.echo(f"  {path}: {path.stat().st_size / 1e6:.1f} MB")
