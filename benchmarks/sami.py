"""EfficientSAM's comparisons of pretraining, at a size for two CPU cores: one command, two tables and two pictures.

    python benchmarks/sami.py --photos path/to/photos --classes caltech100.tar --animals path/to/animals \
        -o docs/experiments/sami.md

The same small ViT starts from SAMI, from MAE and from random weights, and is then trained for every task in TASKS.
The ablations change one thing of SAMI, and are measured by one task, with the first seed. Pretraining sees photos
without their labels; none of them is among those that a task is measured on. The teacher is `pocket` at 256 x 256
pixels.

Every pretraining and every task is a run of its own in --folder. What is done already is not done again, and a killed
run goes on. Several of these commands may work on the same folder at the same time: each takes runs that no other one
works on, and the last one to end writes the whole tables. Scores are kept beside the page, in sami.json: whoever has
that file, but not the runs, can go on with the rows that are missing.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from sami_pictures import draw_attention, draw_curves

from pocketsam.embeddings.job import embed
from pocketsam.models.checkpoints import FILE_NAME, load_model, save_model
from pocketsam.segmenter import Segmenter
from pocketsam.training.loop import LOG_FILE, train
from pocketsam.training.recipe import read_recipe
from pocketsam.utils.files import write

RECIPES = Path("recipes")
TEACHER, TEACHER_SIZE = Path("checkpoints/pocket") / FILE_NAME, 256


@dataclass(frozen=True)
class Pretraining:
    """A recipe in `recipes/`, and what is changed in it; without one, random weights."""

    recipe: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """What a pretrained encoder is trained for. scores: of its validation, by the names of their columns.

    changes: of the recipe; {photos}, {classes} and {animals} stand for the data.
    """

    recipe: str
    scores: dict[str, str]
    changes: tuple[str, ...]

    def needs(self, data: str) -> bool:
        """Whether it is trained on these data."""
        return any(f"{{{data}}}" in change for change in self.changes)


SAMI, MAE = "SAMI", "MAE"
_SMALL = ("model=vit_micro", "decoder_width=128", "steps=800", "warmup=80")
COMPARED = {
    SAMI: Pretraining("sami/1-pretrain.yaml", _SMALL),
    MAE: Pretraining("sami/mae.yaml", _SMALL),
    "no pretraining": Pretraining(),
}
ABLATIONS = {
    "all-token decoder": Pretraining("sami/1-pretrain.yaml", (*_SMALL, "decoder=all tokens")),
    "cosine": Pretraining("sami/1-pretrain.yaml", (*_SMALL, "loss=cosine")),
    "50 % masked": Pretraining("sami/1-pretrain.yaml", (*_SMALL, "mask_ratio=0.5")),
    "85 % masked": Pretraining("sami/1-pretrain.yaml", (*_SMALL, "mask_ratio=0.85")),
}
_OF_VIT = ("model=vit_micro", "encoder_rate=1")
_ANIMALS = (
    "image_size=128",
    "steps=600",
    'train=["{animals}/instances_train.json"]',
    'val=["{animals}/instances_val.json"]',
)
TASKS = {
    "segment anything": Task(
        "sami/2-segment.yaml",
        {"box": "val/box", "1 click": "val/1 click", "3 clicks": "val/3 clicks"},
        (
            "model=efficient_sam_micro",
            "steps=320",
            "objects=4",
            'train=["{photos}/train-00[0-3].tar"]',
            'val=["{photos}/val-000.tar"]',
        ),
    ),
    "classification": Task(
        "transfer/classification.yaml",
        {"top-1": "val/top-1"},
        (
            *_OF_VIT,
            "steps=800",
            "warmup=50",
            "ema=0.99",
            'train=["{classes}/train"]',
            'val=["{classes}/val"]',
        ),
    ),
    "detection": Task(
        "transfer/detection.yaml",
        {"box AP": "val/box AP", "mask AP": "val/mask AP"},
        (*_OF_VIT, *_ANIMALS),
    ),
    "semantic segmentation": Task("transfer/semantic.yaml", {"mIoU": "val/mIoU"}, (*_OF_VIT, *_ANIMALS)),
}
ABLATED = "classification"


@dataclass(frozen=True)
class Setup:
    """Where the runs are, what they are made of, and what is changed in all of their recipes."""

    folder: Path
    photos: Path
    classes: Path
    animals: Path | None
    changes: tuple[str, ...]
    scores: Path  # JSON: of every run that has ended, by its name

    def scores_of(self, run: Path) -> dict[str, float]:
        """What a run scored at its end, by the names of the log; empty where it has not ended."""
        if not self.scores.exists():
            return {}
        known: dict[str, dict[str, float]] = json.loads(self.scores.read_text())
        return known.get(run.name, {})

    def keep_scores(self, run: Path) -> None:
        """Add the last validation of a run that has ended."""
        lines = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
        validation = next(line for line in reversed(lines) if any(key.startswith("val/") for key in line))
        with FileLock(self.scores.with_suffix(".lock")):
            known = json.loads(self.scores.read_text()) if self.scores.exists() else {}
            known[run.name] = {
                key: round(score, 5) for key, score in validation.items() if key.startswith("val/")
            }
            write(self.scores, (json.dumps(dict(sorted(known.items())), indent=1) + "\n").encode())

    def run(self, name: str, seed: int) -> Path:
        """The folder of a run."""
        return self.folder / f"{name.replace(' %', '').replace(' ', '-')}-{seed}"


def main(
    photos: Annotated[
        Path, typer.Option(help="The folder of train-*.tar, unlabelled-*.tar and val-000.tar.")
    ],
    classes: Annotated[Path, typer.Option(help="A tar file of train/CLASS/*.jpg and val/CLASS/*.jpg.")],
    animals: Annotated[
        Path | None,
        typer.Option(
            help="A folder of instances_train.json, instances_val.json and their images/; if given."
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("runs/sami"),
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The page with the tables.")] = None,
    seeds: Annotated[list[int], typer.Option(help="Of the main table; may be repeated.")] = [0, 1],  # noqa: B006
    only: Annotated[
        list[str] | None, typer.Option(help=f"Tasks: {', '.join(TASKS)}.", metavar="TASK")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A field of every recipe.", metavar="KEY=VALUE")
    ] = None,
    trains: Annotated[
        bool, typer.Option("--train/--no-train", help="Or only write what has been measured so far.")
    ] = True,
) -> None:
    """Train all, measure all, and write tables and pictures."""
    # Those of a trial with other settings do not belong beside the page.
    scores = output.with_suffix(".json") if output and not changes else folder / "scores.json"
    setup = Setup(folder, photos, classes, animals, tuple(changes or ()), scores)
    tasks = {name: task for name, task in TASKS.items() if not only or name in only}
    tasks = {name: task for name, task in tasks.items() if animals or not task.needs("animals")}
    if trains:
        train_all(setup, tasks, seeds)
    lines = tables(setup, tasks, seeds)
    print("\n".join(lines))
    if output:
        write_between_marks(output, lines)
        pictures = output.parent.parent / "pictures" / "sami"
        pictures.mkdir(parents=True, exist_ok=True)
        runs = {name: setup.run(name, seeds[0]) for name in (SAMI, MAE, *ABLATIONS)}
        runs = {name: run for name, run in runs.items() if (run / "done").exists()}
        if SAMI in runs and MAE in runs:
            draw_curves(runs, pictures / "curves.png")
            draw_attention({name: runs[name] for name in (SAMI, MAE)}, pictures / "attention.jpg")


def train_all(setup: Setup, tasks: dict[str, Task], seeds: Sequence[int]) -> None:
    """What is compared, with every seed; then the ablations, with the first one."""
    prepare(setup)
    ablated = {name: task for name, task in tasks.items() if name == ABLATED}
    for seed in seeds:
        for name, pretraining in COMPARED.items():
            run_all(setup, name, pretraining, tasks, seed)
    for name, pretraining in ABLATIONS.items():
        run_all(setup, name, pretraining, ablated, seeds[0])


def prepare(setup: Setup) -> None:
    """The teacher's embeddings of all photos that pretraining sees; the photos of the classes as class folders."""
    with FileLock(setup.folder.with_name(f".{setup.folder.name}.lock")):
        setup.folder.mkdir(parents=True, exist_ok=True)
        unpack_classes(setup)
        teacher = setup.folder / "teacher" / FILE_NAME
        if not teacher.exists():
            sam, config = load_model(TEACHER)
            save_model(teacher, sam.state_dict(), replace(config, image_size=TEACHER_SIZE))
        summary = embed(
            Segmenter(teacher.parent).engine, pretraining_photos(setup), setup.folder / "embeddings", 8
        )
        print(f"{setup.folder / 'embeddings'}: {summary}", flush=True)


def pretraining_photos(setup: Setup) -> list[Path]:
    """Shards, of which train-004 holds the photos that detectors are measured on, and the class folders."""
    shards = [*setup.photos.glob("train-00[0-3].tar"), *setup.photos.glob("unlabelled-*.tar")]
    return [*sorted(shards), setup.folder / "classes"]


def unpack_classes(setup: Setup) -> None:
    """train/CLASS/NAME.jpg of the tar file, as classes/CLASS/NAME.jpg."""
    done = setup.folder / "classes.done"
    if done.exists():
        return
    with tarfile.open(setup.classes) as tar:
        for member in tar:
            part, *rest = Path(member.name).parts
            if part == "train" and member.isfile() and len(rest) == 2:
                member.name = "/".join(rest)
                tar.extract(member, setup.folder / "classes", filter="data")
    done.touch()


def run_all(setup: Setup, name: str, pretraining: Pretraining, tasks: Mapping[str, Task], seed: int) -> None:
    """Pretrain an encoder, and train it for the tasks, but for what is done or another process is doing."""
    runs = {task_name: setup.run(f"{name}-{task_name}", seed) for task_name in tasks}
    tasks = {task_name: task for task_name, task in tasks.items() if not setup.scores_of(runs[task_name])}
    init = "[]"
    if pretraining.recipe and tasks:
        encoder = pretrain(setup, name, pretraining, seed)
        if encoder is None:
            return
        init = str(encoder)
    for task_name, task in tasks.items():
        out = runs[task_name]
        data = {"photos": setup.photos, "classes": setup.classes, "animals": setup.animals}
        changes = [change.format(**data) for change in task.changes]
        changes = [f"out={out}", f"seed={seed}", f"init={init}", *changes, *setup.changes]
        steps = read_recipe(RECIPES / task.recipe, changes).steps
        if finish(out, task.recipe, [*changes, f"validate_every={steps}"]):
            setup.keep_scores(out)


def pretrain(setup: Setup, name: str, pretraining: Pretraining, seed: int) -> Path | None:
    """The file of a pretrained encoder; None where another process is making it."""
    out = setup.run(name, seed)
    photos = json.dumps([str(path) for path in pretraining_photos(setup)])
    changes = [f"out={out}", f"seed={seed}", f"train={photos}", *pretraining.changes]
    if name != MAE:
        changes.append(f"embeddings={setup.folder / 'embeddings'}")
    return finish(out, pretraining.recipe, [*changes, *setup.changes])


def finish(out: Path, recipe: str, changes: Sequence[str]) -> Path | None:
    """The result of a run, which is trained to its end first; None where another process is training it."""
    result, done = out / FILE_NAME, out / "done"
    if done.exists():
        return result
    with alone(out) as mine:
        if not mine:
            return None
        print(f"{out}", flush=True)
        train(read_recipe(RECIPES / recipe, list(changes)), quiet=True)
        done.touch()
    return result


@contextmanager
def alone(out: Path) -> Iterator[bool]:
    """Whether no other process works on a run."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            yield True
    except Timeout:
        yield False


def tables(setup: Setup, tasks: dict[str, Task], seeds: Sequence[int]) -> list[str]:
    """The main table, and that of the ablations, in Markdown."""
    columns = {column: (task, score) for task, one in tasks.items() for column, score in one.scores.items()}
    ablated = {column: place_of for column, place_of in columns.items() if place_of[0] == ABLATED}
    return [
        *table(setup, COMPARED, columns, seeds),
        "",
        *table(setup, [SAMI, *ABLATIONS], ablated, seeds[:1]),
    ]


def table(
    setup: Setup, rows: Iterable[str], columns: Mapping[str, tuple[str, str]], seeds: Sequence[int]
) -> list[str]:
    """Percent: the mean over the seeds and, in brackets, each of them."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in rows:
        cells = [
            cell([setup.scores_of(setup.run(f"{name}-{task}", seed)).get(score) for seed in seeds])
            for task, score in columns.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def cell(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    each = ", ".join(f"{value:.1f}" for value in known)
    return f"**{mean(known):.1f}** ({each})" if len(known) > 1 else each


BEGIN, END = "<!-- table -->", "<!-- end of table -->"
PAGE = f"""# Pretraining, measured

What is an encoder worth that was pretrained on photos without labels? EfficientSAM compares SAMI with masked
autoencoders (MAE) on ImageNet and SA-1B. Here is the same comparison at a size for two CPU cores: a ViT with 6 blocks
of 128 channels (`vit_micro`) at 128 × 128 pixels, pretrained on 51,200 crops of 9,722 photos, then trained for each
task with the same recipe, in few steps. SAMI's teacher is `pocket` at 256 × 256 pixels.
[Pretrain an encoder](../how-to/pretrain-an-encoder.md) describes the methods.

```
python benchmarks/sami.py --photos path/to/photos --classes caltech100.tar --animals path/to/animals \\
    -o docs/experiments/sami.md
```

trains and measures everything, and writes the tables here. Figures are percent: the mean over the seeds and, in
brackets, that of each seed. The second table changes one thing of SAMI at a time, with the first seed. A dash is a
run that has not been made yet; the command makes it, and leaves those that are in `sami.json`.

{BEGIN}
{END}

![the loss of each pretraining, 1 at the start](../pictures/sami/curves.png)

What counts in the last block of the encoder for the patch at the red point:

![three photos, and the attention of three encoders](../pictures/sami/attention.jpg)
"""


def write_between_marks(path: Path, lines: list[str]) -> None:
    """Replace the tables in the page, or begin it."""
    page = path.read_text() if path.exists() else PAGE
    before, rest = page.split(BEGIN)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + "\n".join([BEGIN, *lines, END]) + rest.split(END)[1])


if __name__ == "__main__":
    typer.run(main)
