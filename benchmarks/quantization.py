"""What quantisation costs, and what INT8 files gain.

    python benchmarks/quantization.py ablation pocket val-000.tar --calibrate train-003.tar -o out/ablation.jsonl
    python benchmarks/quantization.py files pocket val-000.tar --calibrate train-003.tar

`ablation` prints mean IoU for boxes, 1 and 3 clicks of the float model and of its quantisations, one part of the
method after the other, and how well their masks agree with the float model's. Each row is kept in the file of `-o`,
so that a killed run resumes. `files` prints the sizes, the times of the encoder and of a box, and the agreement of
PocketSAM's INT8 files, beside those that ONNX Runtime's static quantisation and, where it is installed, NNCF make of
the same float files.

Calibration photos come from other data than those that are measured.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pocketsam import Segmenter
from pocketsam.config import BOX_END, BOX_START, ModelConfig
from pocketsam.data.calibration import calibration_images
from pocketsam.data.datasets import open_dataset
from pocketsam.data.sample import Sample
from pocketsam.engines import Engine, open_engine
from pocketsam.engines.fake_quant import FakeQuantEngine
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.torch import TorchEngine
from pocketsam.evaluation.metrics import iou
from pocketsam.evaluation.prompting import sample_clicks
from pocketsam.graphs import ONNX_FILES
from pocketsam.models.checkpoints import load_model
from pocketsam.models.sam import Sam
from pocketsam.quantization.calibrate import calibrate
from pocketsam.quantization.model import QuantizedSam, fold_batch_norm, numerics
from pocketsam.quantization.settings import QuantizationSettings
from pocketsam.utils.install import installed
from pocketsam.utils.journal import Journal
from pocketsam.utils.rle import boxes
from pocketsam.zoo import locate_weights

PARTS: dict[str, QuantizationSettings] = {
    "min-max": QuantizationSettings(method="minmax", two_groups=False),
    "+ hessian-guided": QuantizationSettings(rounds=1, two_groups=False),
    "+ alternating": QuantizationSettings(two_groups=False),
    "+ two groups": QuantizationSettings(),
}
BITS = ((8, 8), (6, 6), (4, 8))
COLUMNS = ("box", "1 click", "3 clicks")
AGREEMENT = tuple(f"{column}, agreement" for column in COLUMNS)

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)
Model = Annotated[str, typer.Argument(help="A model's name, its folder or a checkpoint, with weights.")]
Data = Annotated[list[Path], typer.Argument(help="Photos with masks to measure.")]
Calibration = Annotated[list[Path], typer.Option("--calibrate", help="Photos to calibrate by.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Photos to measure, evenly spread; all if not given.")]
Photos = Annotated[int, typer.Option(min=1, help="Photos to calibrate by.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]
Candidates = Annotated[int, typer.Option(min=2, help="Scales that the search tries in each step.")]


@app.command()
def ablation(
    model: Model,
    data: Data,
    calibration: Calibration,
    output: Annotated[
        Path, typer.Option("-o", help="The rows as JSON lines; those it has are not measured again.")
    ],
    limit: Limit = None,
    photos: Photos = 8,
    threads: Threads = 2,
    candidates: Candidates = 100,
) -> None:
    """Mean IoU and agreement in % of every part of the method at W8A8, W6A6 and W4A8."""
    torch.set_num_threads(threads)
    sam, config = load_model(*locate_weights(model, "quantise"))
    images = [torch.from_numpy(image) for image in calibration_images(calibration, photos, config)]
    samples = list(_samples(data, limit))
    setup = {"weights": config.weights, "photos": [sample.name for sample in samples], "calibration": photos}
    journal = Journal(output, {**setup, "candidates": candidates})
    exact = _masks(TorchEngine(sam, config), samples)
    journal.add("float32", _scores(exact, samples))
    for (weight_bits, activation_bits), (part, settings) in product(BITS, PARTS.items()):
        name = f"W{weight_bits}A{activation_bits} {part}"
        if name in journal.entries:
            continue
        start = perf_counter()
        engine = _quantized(
            sam,
            config,
            images,
            replace(
                settings, weight_bits=weight_bits, activation_bits=activation_bits, candidates=candidates
            ),
        )
        seconds = perf_counter() - start
        found = _masks(engine, samples)
        journal.add(name, _scores(found, samples) | _agreement(found, exact) | {"seconds": seconds})
        typer.echo(f"{name}: calibrated in {seconds:.0f} s", err=True)
    title = f"{config.name} {config.weights[:12]}: {len(samples)} photos, calibrated with {photos}"
    table = Table("", *COLUMNS, *AGREEMENT, "s to calibrate", title=title)
    for name, row in journal.entries.items():
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
        table.add_row(name, *_percent(row[key] for key in (*COLUMNS, *AGREEMENT) if key in row), seconds)
    Console(width=130).print(table)
    typer.echo(f"rows: {output}")


@app.command()
def files(
    model: Model,
    data: Data,
    calibration: Calibration,
    limit: Limit = None,
    photos: Photos = 8,
    threads: Threads = 2,
    candidates: Candidates = 100,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each encoder, taking turns.")] = 15,
) -> None:
    """Size, times and agreement of INT8 files; all times are of one run, by ONNX Runtime unless said otherwise."""
    from pocketsam.export.onnx import export_onnx
    from pocketsam.quantization.onnx import export_int8, in_integers

    torch.set_num_threads(threads)
    sam, config = load_model(*locate_weights(model, "quantise"))
    images = [torch.from_numpy(image) for image in calibration_images(calibration, photos, config)]
    samples = list(_samples(data, limit))
    with tempfile.TemporaryDirectory() as made:
        folders = {"float32": Path(made) / "float32"}
        export_onnx(sam, config, folders["float32"])
        for name, bits in (("PocketSAM, 7-bit weights", 7), ("PocketSAM, 8-bit weights", 8)):
            settings = QuantizationSettings(weight_bits=bits, two_groups=False, candidates=candidates)
            folded = fold_batch_norm(sam)
            scales = calibrate(
                folded, images, settings, pad_points_to=config.pad_points_to, chosen=in_integers(sam)
            )
            named = replace(config, numerics=numerics(settings, scales))
            folders[name] = Path(made) / str(bits)
            export_int8(folded, named, scales, images, settings, folders[name])
        folders["ONNX Runtime's static quantisation"] = _by_onnxruntime(
            folders["float32"], Path(made) / "ort", images
        )
        if installed("nncf"):
            folders["NNCF"] = _by_nncf(folders["float32"], Path(made) / "nncf", images)
        engines: dict[str, Engine] = {name: OnnxEngine(folder, threads) for name, folder in folders.items()}
        if installed("openvino"):
            for name, precision in (("float32", "bfloat16"), ("PocketSAM, 7-bit weights", "float32")):
                opened = open_engine(folders[name], "openvino", precision=precision, threads=threads)
                folders[f"{name}, OpenVINO in {precision}"] = folders[name]
                engines[f"{name}, OpenVINO in {precision}"] = opened
        encoder_times, box_times = _times(engines, images[0].numpy(), repeats)
        masks = {name: _masks(engine, samples) for name, engine in engines.items()}
        table = Table(
            "",
            "MB",
            "encoder, ms",
            "times as fast",
            "a box, ms",
            *COLUMNS,
            *AGREEMENT,
            title=f"{config.name} {config.weights[:12]}: {threads} threads, {len(samples)} photos",
        )
        for name, folder in folders.items():
            size = sum((folder / file).stat().st_size for file in ONNX_FILES) / 1e6
            scores = _scores(masks[name], samples) | _agreement(masks[name], masks["float32"])
            ratio = encoder_times["float32"] / encoder_times[name]
            times = f"{1000 * encoder_times[name]:.1f}", f"{ratio:.2f}", f"{1000 * box_times[name]:.1f}"
            table.add_row(name, f"{size:.1f}", *times, *_percent(scores.values()))
        Console(width=140).print(table)
    if not installed("nncf"):
        typer.echo("NNCF is not installed, and was left out")
    typer.echo(_processor())


Masks = list[dict[str, list[NDArray[np.bool_]]]]
"""Of each photo, by the kind of prompt, the masks."""


def _samples(data: Sequence[Path], limit: int | None) -> Iterator[Sample]:
    dataset = open_dataset(data)
    count = min(limit or len(dataset), len(dataset))
    for i in np.linspace(0, len(dataset) - 1, count).round().astype(int):
        sample = dataset.read(int(i)).promptable()
        if sample.rles:
            yield sample


def _masks(engine: Engine, samples: Sequence[Sample]) -> Masks:
    """Each ground-truth mask is prompted for by its box, 1 and 3 clicks, as `pocketsam evaluate clicks` does."""
    segmenter, found = Segmenter(engine=engine), []
    for sample in track(samples, engine.info.numerics, transient=True):
        opened = segmenter.open(sample.image)
        clicks = np.stack(
            [
                sample_clicks(mask, 3, 0, sample.name, id_)
                for mask, id_ in zip(sample.each_mask(), sample.ids, strict=True)
            ]
        )
        prompts = ({"boxes": boxes(sample.rles)}, {"points": clicks[:, :1]}, {"points": clicks})
        kinds = zip(COLUMNS, prompts, strict=True)
        found.append({kind: [m.binary[0] for m in opened.segment(**prompt)] for kind, prompt in kinds})
    return found


def _scores(masks: Masks, samples: Sequence[Sample]) -> dict[str, float]:
    """Mean IoU with the ground truth, over masks."""
    return {
        kind: float(
            np.mean(
                [
                    iou(mask, truth)
                    for of_photo, sample in zip(masks, samples, strict=True)
                    for mask, truth in zip(of_photo[kind], sample.each_mask(), strict=True)
                ]
            )
        )
        for kind in COLUMNS
    }


def _agreement(masks: Masks, others: Masks) -> dict[str, float]:
    """Mean IoU with another model's masks, for each kind of prompt; of two empty ones it is 1."""
    return {
        f"{kind}, agreement": float(
            np.mean(
                [
                    iou(a, b) if a.any() or b.any() else 1.0
                    for ours, theirs in zip(masks, others, strict=True)
                    for a, b in zip(ours[kind], theirs[kind], strict=True)
                ]
            )
        )
        for kind in COLUMNS
    }


def _percent(scores: Iterable[float]) -> list[str]:
    return [f"{100 * score:.1f}" for score in scores]


def _quantized(
    sam: Sam, config: ModelConfig, images: Sequence[torch.Tensor], settings: QuantizationSettings
) -> Engine:
    scales = calibrate(fold_batch_norm(sam), images, settings, pad_points_to=config.pad_points_to)
    return FakeQuantEngine(
        QuantizedSam(sam, scales),
        replace(config, numerics=numerics(settings, scales)),
        torch.get_num_threads(),
    )


def _times(
    engines: Mapping[str, Engine], image: NDArray[np.float32], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The median seconds of each encoder, and of a box behind it; they take turns, so that all see the same load."""
    encoder: dict[str, list[float]] = {name: [] for name in engines}
    box: dict[str, list[float]] = {name: [] for name in engines}
    corners = np.array([[[100, 100], [300, 300]]], np.float32)
    labels = np.array([[BOX_START, BOX_END]], np.int32)
    for turn in range(repeats + 1):
        for name, engine in engines.items():
            start = perf_counter()
            embedding = engine.encode(image)
            encoded = perf_counter()
            prepared = engine.prepare(embedding)
            begun = perf_counter()
            engine.decode_masks(engine.predict_iou(prepared, corners, labels), [0])
            if turn:  # the first one warms up
                encoder[name].append(encoded - start)
                box[name].append(perf_counter() - begun)
    return (
        {name: median(taken) for name, taken in encoder.items()},
        {name: median(taken) for name, taken in box.items()},
    )


def _by_onnxruntime(source: Path, target: Path, images: Sequence[torch.Tensor]) -> Path:
    """The encoder by ONNX Runtime's static quantisation with its defaults, by channel; the decoder stays in float."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.rest, None)
            return None if image is None else {"image": image.numpy()}

    _copy(source, target)
    quant_pre_process(source / "encoder.onnx", target / "pre.onnx")
    quantize_static(target / "pre.onnx", target / "encoder.onnx", Reader(), per_channel=True)
    _keep_metadata(source, target)
    return target


def _by_nncf(source: Path, target: Path, images: Sequence[torch.Tensor]) -> Path:
    """The encoder by NNCF's post-training quantisation with its defaults; the decoder stays in float."""
    import nncf
    import onnx

    _copy(source, target)
    data = nncf.Dataset([{"image": image.numpy()} for image in images])
    model = nncf.quantize(onnx.load(source / "encoder.onnx"), data, subset_size=len(images))
    onnx.save(model, target / "encoder.onnx")
    _keep_metadata(source, target)
    return target


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for file in ONNX_FILES:
        (target / file).write_bytes((source / file).read_bytes())


def _keep_metadata(source: Path, target: Path) -> None:
    import onnx

    model, former = (
        onnx.load(target / "encoder.onnx"),
        onnx.load(source / "encoder.onnx", load_external_data=False),
    )
    onnx.helper.set_model_props(model, {prop.key: prop.value for prop in former.metadata_props})
    onnx.save(model, target / "encoder.onnx")


def _processor() -> str:
    """Which processor this is, and whether it has VNNI, where Linux says so."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "processor: unknown"
    lines = dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)
    name = lines.get("model name", "unknown").strip("\t: ")
    return f"processor: {name}, {'with' if 'vnni' in text else 'without'} VNNI"


if __name__ == "__main__":
    app()
