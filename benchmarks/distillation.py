"""The papers' comparisons of ways to distil, on photos and a student small enough for a CPU: one command, one table.

    python benchmarks/distillation.py orderings --photos path/to/photos -o docs/experiments/distillation.md

MobileSAM (arXiv 2306.14289) has decoupled before coupled and semi-coupled distillation (Table 2), and more epochs
and a larger batch before fewer (Table 4). TinySAM (arXiv 2312.13789) has full-stage distillation before that of
embeddings, hard prompts before random ones, hard mask weights before equal ones. Every run sees as many photos, but
for those that vary the epochs, and has the same encoder, learning rate and teacher. Whatever is done already is not
done again.

    python benchmarks/distillation.py throughput

trains the same student for a few steps with a teacher's stored embeddings and with the teacher in the loop.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from pocketsam.data.sa1b import Shards
from pocketsam.embeddings.job import embed
from pocketsam.engines.torch import TorchEngine
from pocketsam.evaluation.metrics import ious
from pocketsam.evaluation.protocols.agreement import POINT, Teacher
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.results import Means
from pocketsam.evaluation.session import run
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import FILE_NAME, load_model, save_model
from pocketsam.segmenter import Segmenter
from pocketsam.training.loop import LOG_FILE, train
from pocketsam.training.recipe import read_recipe
from pocketsam.utils.rle import boxes as tightest_boxes
from pocketsam.zoo import MODELS as PUBLISHED

RECIPE = Path("recipes/distillation/small.yaml")
TEACHER = Path("checkpoints/pocket") / FILE_NAME
TEACHER_SIZE = 256
PROMPTS = ["objects=4", "pixel_loss=cross-entropy"]
"""Of the methods that prompt the student."""
CLICKS = [*PROMPTS, "clicks=[1]", "masks=teacher"]
FULL_STAGE = ["method=full-stage", *PROMPTS]
RUNS = {
    "decoupled": [],
    "coupled": ["method=coupled", *CLICKS],
    "semi-coupled": ["method=semi-coupled", *CLICKS],
    "full-stage": [*FULL_STAGE, "stages={hard_masks: false, hard_prompts: 0}"],
    "full-stage, hard prompts": [*FULL_STAGE, "stages={hard_masks: false}"],
    "full-stage, hard prompts and masks": FULL_STAGE,
    "full-stage, without ground truth": [
        *FULL_STAGE,
        "stages={ground_truth: 0, hard_masks: false, hard_prompts: 0}",
    ],
    "decoupled, half the batch and epochs": ["batch=4"],
    "decoupled, twice the epochs": ["steps=1142"],
    "decoupled, embeddings of 8 bits": ["embeddings={folder}/embeddings-8"],
}
COLUMNS = {
    "teacher, click": "with the teacher, by a click",
    "teacher, box": "with the teacher, by a box",
    "box": "with ground truth, by a box",
    "1 click": "1 click",
    "3 clicks": "3 clicks",
}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    table = commands.add_parser("orderings")
    table.add_argument("--photos", type=Path, required=True, help="the folder of train-*.tar and val-000.tar")
    table.add_argument("--folder", type=Path, default=Path("runs/distillation"))
    table.add_argument("--val-photos", type=int, default=95)
    table.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    table.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    table.add_argument("-o", "--output", type=Path)
    table.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    table.set_defaults(command=orderings)
    rate = commands.add_parser("throughput")
    rate.add_argument("--teacher", default="sam_vit_b", help="its architecture; the weights may be anything")
    rate.add_argument("--student", default="tiny_vit_5m")
    rate.add_argument("--image-size", type=int, default=512)
    rate.add_argument("--steps", type=int, default=10)
    rate.add_argument("--batch", type=int, default=2)
    rate.set_defaults(command=throughput)
    given = parser.parse_args()
    given.command(given)


def orderings(given: argparse.Namespace) -> None:
    """Train all, measure all, and write the table."""
    teacher = _teacher(given.folder)
    shards = sorted(given.photos.glob("train-*.tar"))
    for bits, store in ((16, "embeddings"), (8, "embeddings-8")):
        _embed(teacher, shards, given.folder / store, bits)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
    for seed in given.seeds:
        for name in given.only:
            results[name].append(_result(given, teacher, name, RUNS[name], seed))
            lines = _table(results)
            print("\n".join(lines), flush=True)
            if given.output:
                _write(given.output, lines)


def _teacher(folder: Path) -> Path:
    """The model inside the package, at a size that is quick to embed at."""
    path = folder / "teacher" / FILE_NAME
    if not path.exists():
        sam, config = load_model(TEACHER)
        save_model(path, sam.state_dict(), replace(config, image_size=TEACHER_SIZE))
    return path


def _embed(teacher: Path, shards: list[Path], store: Path, bits: int) -> None:
    engine = Segmenter(teacher.parent).engine
    summary = embed(engine, shards, store, bits)
    print(
        f"{store}: {summary.photos} photos, {summary.bytes / summary.photos:.0f} bytes each,"
        f" {summary.rate:.1f} photos/s now"
    )


def _result(
    given: argparse.Namespace, teacher: Path, name: str, changes: list[str], seed: int
) -> dict[str, float]:
    """Train one student by one method and measure it, unless that is done."""
    out = run_folder(given.folder, name, seed)
    done = out / "result.json"
    if done.exists() and COLUMNS.keys() <= (known := json.loads(done.read_text())).keys():
        return dict(known)
    print(f"{name}, seed {seed}", flush=True)
    settings = [
        f"out={out}",
        f"seed={seed}",
        f"teacher={teacher}",
        f"train=[{given.photos}/train-*.tar]",
        f"embeddings={given.folder}/embeddings",
    ]
    changes = [change.format(folder=given.folder) if "{folder}" in change else change for change in changes]
    model = train(read_recipe(RECIPE, [*settings, *changes, *given.changes]), quiet=True)
    log = [json.loads(line) for line in (out / LOG_FILE).read_text().splitlines()]
    found = _measure(model, teacher, given.photos / "val-000.tar", given.val_photos)
    found["photos/s"] = log[-1]["photos_s"]
    done.write_text(json.dumps(found))
    return found


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where one of `RUNS` is."""
    return folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def open_student(path: Path) -> Segmenter:
    """A model file, as it was trained."""
    return Segmenter(engine=TorchEngine(*load_model(path)))


def _measure(student: Path, teacher: Path, photos: Path, count: int) -> dict[str, float]:
    """Agreement with the teacher on points, and with the ground truth on boxes and clicks, in percent."""
    val, segmenter = Shards(photos), open_student(student)
    chosen = [i * len(val) // count for i in range(count)]
    found = {}
    agreement = Teacher(partial(open_student, teacher), points=8, distances=())
    found["teacher, click"] = Means(run(agreement, val, lambda: segmenter, photos=chosen))[POINT]
    found["teacher, box"] = _agreement_on_boxes(segmenter, open_student(teacher), val, chosen)
    means = Means(run(Clicks(), val, lambda: segmenter, photos=chosen))
    found |= {name: means[name] for name in Clicks().columns}
    return {name: 100 * (value or 0) for name, value in found.items()}


def _agreement_on_boxes(student: Segmenter, teacher: Segmenter, val: Shards, photos: list[int]) -> float:
    """The mean IoU of what both find in the boxes of the ground truth."""
    found: list[float] = []
    for sample in (val.read(i).promptable() for i in photos):
        if sample.rles:
            boxes = tightest_boxes(sample.rles)
            ours, theirs = (model.open(sample.image).segment(boxes=boxes) for model in (student, teacher))
            found += ious(ours, (mask.binary[0] for mask in theirs))
    return statistics.mean(found)


def _table(results: dict[str, list[dict[str, float]]]) -> list[str]:
    lines = [
        "| | " + " | ".join(COLUMNS.values()) + " | photos/s |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for name, found in results.items():
        if found:
            cells = [_both([one[column] for one in found]) for column in COLUMNS]
            speed = statistics.mean(one["photos/s"] for one in found)
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {speed:.0f} |")
    return lines


def _both(values: list[float]) -> str:
    """The mean, and what each seed gave."""
    each = ", ".join(f"{value:.1f}" for value in values)
    return f"**{statistics.mean(values):.1f}** ({each})"


BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def _write(path: Path, lines: list[str]) -> None:
    """Replace the table in a page, or begin one."""
    page = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(before + "\n".join([BEGIN, *lines, END]) + after)


def throughput(given: argparse.Namespace) -> None:
    """Photos a second with stored embeddings, and with the teacher in the loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sam = build(given.teacher, 1024).eval()
        config = PUBLISHED[given.teacher].config
        save_model(folder / "teacher" / FILE_NAME, sam.state_dict(), config)
        photos = _noise(folder / "photos", given.batch)
        engine = TorchEngine(*load_model(folder / "teacher" / FILE_NAME))
        summary = embed(engine, photos, folder / "store")
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            f"model: {given.student}\nmethod: decoupled\nimage_size: {given.image_size}\n"
            f"teacher: {folder}/teacher\ntrain: ['{photos}']\nsteps: {given.steps}\nbatch: {given.batch}\n"
            f"workers: 0\ncheckpoint_every: 100000\nout: {folder}/stored\n"
        )
        rates = {}
        for way, changes in {
            "stored": [f"embeddings={folder}/store"],
            "teacher in the loop": [f"out={folder}/loop"],
        }.items():
            model = train(read_recipe(recipe, changes), quiet=True)
            line = (model.parent / LOG_FILE).read_text().splitlines()[-1]
            rates[way] = json.loads(line)["photos_s"]
    print("| embeddings | photos/s | times |\n|---|---|---|")
    for way, rate in rates.items():
        print(f"| {way} | {rate:.2f} | {rate / rates['teacher in the loop']:.1f} |")
    print(f"\n{summary.bytes / summary.photos:.0f} bytes a photo in the store")


def _noise(folder: Path, count: int) -> Path:
    """So many photos of 1024 × 768 pixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in track(range(count), "photos"):
        pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).resize((1024, 768)).save(folder / f"{i}.jpg")
    return folder


if __name__ == "__main__":
    main()
