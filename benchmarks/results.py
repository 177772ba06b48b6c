"""Every protocol's table, for three models. Run: python benchmarks/results.py val-000.tar -o docs/results.md

The models: `pocket`; its weights at half the resolution; its architecture with random weights, which tells how much
of a score is luck. Every figure comes from `pocketsam evaluate`, whose results lie in out/results. What is there
already, measured by the same command on the same files, is not measured again: remove it to begin afresh.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketsam.evaluation.pictures import plot
from pocketsam.evaluation.provenance import fingerprint
from pocketsam.evaluation.results import Curves, Table
from pocketsam.segmenter import Segmenter

ROOT = Path(__file__).parents[1]
OUT = Path("out/results")
MODELS = {
    "pocket": "pocket",
    "pocket, 256²": str(OUT / "models/pocket-256"),
    "random weights": str(OUT / "models/random"),
}
# SAM's own thresholds would leave nothing of the proposals of a model with low predicted IoU.
UNSURE = ["--pred-iou-thresh", "0", "--stability-score-thresh", "0"]
# Protocol, title, options, and how many photos.
PROTOCOLS: dict[str, tuple[str, list[str], int | None]] = {
    "clicks": ("Boxes and random clicks in the mask", ["--clicks", "1,3,5"], None),
    "interactive": ("One corrective click after another", ["--clicks", "5"], 30),
    "boxes": ("A detector's boxes, and AP", [], 120),
    "teacher": ("Agreement with `pocket`", ["--against", "pocket"], 40),
    "everything": ("Everything, as proposals", ["--points-per-side", "16", *UNSURE], 20),
}

TABLES = {"clicks": 4}
"""How many of a protocol's tables are shown, where it is not the first alone."""


def main(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards or folders of NAME.jpg beside NAME.json.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("results.md"),
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many photos, to rehearse.")] = None,
) -> None:
    make_models()
    coco = OUT / "coco"
    subprocess.run([sys.executable, ROOT / "benchmarks/coco_set.py", *shards, "-o", coco], check=True)
    pictures = output.parent / "pictures" / "results"
    pictures.mkdir(parents=True, exist_ok=True)
    sections = []
    for protocol, (title, options, photos) in PROTOCOLS.items():
        data = [str(coco / "instances.json")] if protocol == "boxes" else [str(shard) for shard in shards]
        extra = ["--detections", str(coco / "detections.json")] if protocol == "boxes" else []
        count = min(filter(None, (photos, limit)), default=None)
        some = ["--limit", str(count)] if count else []
        arguments = [protocol, *data, *options, *extra, *some]
        sections.append(section(protocol, title, arguments, pictures))
    costs = [argument for model in list(MODELS.values())[1:] for argument in ("--against", model)]
    sections.append(cost(["efficiency", "--model", "pocket", *costs]))
    output.write_text("\n".join([*introduction(limit), *sections]))
    print(f"Written to {output}")


def make_models() -> None:
    """The two models beside `pocket`."""
    import torch

    from pocketsam.models.architectures import build
    from pocketsam.models.checkpoints import FILE_NAME, load_model, save_model

    sam, config = load_model(ROOT / "checkpoints/pocket" / FILE_NAME)
    torch.manual_seed(0)
    others = {
        "pocket-256": (sam.state_dict(), replace(config, name="pocket-256", image_size=256)),
        "random": (build("pocket", 512).state_dict(), replace(config, name="random")),
    }
    for name, (weights, described) in others.items():
        save_model(OUT / "models" / name / FILE_NAME, weights, described)


def section(protocol: str, title: str, arguments: list[str], pictures: Path) -> str:
    """Measure all models by one protocol: the tables in one, the curves in one picture."""
    results = {name: measured(protocol, model, arguments) for name, model in MODELS.items()}
    first = next(iter(results.values()))
    parts = [
        f"## {title}\n",
        f"{first['protocol']['follows']}; {first['photos']} photos. `{command(arguments)}`\n",
        *(together(results, i).markdown() for i in range(TABLES.get(protocol, 1))),
    ]
    curves = [merged(results, i) for i in range(len(first["curves"]))]
    if curves and (picture := plot(curves)):
        (pictures / f"{protocol}.png").write_bytes(picture)
        parts.append(f"![{title}](pictures/results/{protocol}.png)\n")
    return "\n".join(parts)


def cost(arguments: list[str]) -> str:
    """What the models cost, timed in turns in one run."""
    result = measured("efficiency", "", arguments)
    # Of the modules, the first model's: the others have the same.
    tables = "\n".join(Table(**table).markdown() for table in result["tables"][: 1 - len(MODELS)])
    page = f"## Size, work, time, memory\n\n`{command(arguments)}`\n\n{tables}"
    return page.replace(f"{OUT / 'models'}/", "")


def measured(protocol: str, model: str, arguments: list[str]) -> dict[str, Any]:
    """The result of one command; it is run unless its result lies there."""
    folder = OUT / "-".join(filter(None, (protocol, Path(model).stem)))
    chosen = ["--model", model] if model else []
    words = [*arguments, *chosen]
    note = folder / "command.json"
    job = [words, [fingerprint(Path(word)) for word in words if Path(word).is_file()]]
    if not note.exists() or json.loads(note.read_text()) != job:
        print(f"pocketsam evaluate {shlex.join(words)}", flush=True)
        (folder / "result.json").unlink(
            missing_ok=True
        )  # evaluate would not overwrite that of other settings
        subprocess.run([sys.executable, "-m", "pocketsam", "evaluate", *words, "-o", folder], check=True)
        note.write_text(json.dumps(job))
    return dict(json.loads((folder / "result.json").read_text()))


def together(results: dict[str, dict[str, Any]], i: int) -> Table:
    """Table number i of each model, one below the other; of a table that sums up, its last line."""
    lines: list[list[str]] = []
    for name, result in results.items():
        table = Table(**result["tables"][i])
        kept = [line[1:] for line in table.lines[-1:]] if table.total else table.lines
        lines += [[name, *line] for line in kept]
    headings = table.headings[1:] if table.total else table.headings
    return Table(table.title, ["model", *headings], lines)


def merged(results: dict[str, dict[str, Any]], i: int) -> Curves:
    """Curve number i of all models in one picture: the first line of each."""
    curves = {name: result["curves"][i] for name, result in results.items()}
    lines = {name: next(iter(curve["lines"].values())) for name, curve in curves.items()}
    one = next(iter(curves.values()))
    return Curves(one["title"], one["x"], one["y"], lines)


def command(arguments: list[str]) -> str:
    """As a reader would type it: files by their names."""
    shown = [Path(word).name if Path(word).exists() else word for word in arguments]
    return shlex.join(["pocketsam", "evaluate", *shown])


def introduction(limit: int | None) -> Iterator[str]:
    some = f" --limit {limit}" if limit else ""
    yield "# Results\n"
    yield f"<!-- written by: python benchmarks/results.py val-000.tar{some} -o docs/results.md -->\n"
    weights = Segmenter("pocket").engine.config.weights[:12]
    yield (
        "Three models by every protocol ([what they are](how-to/evaluate.md)), regenerated by"
        f" `python benchmarks/results.py val-000.tar{some} -o docs/results.md`: `pocket`, the model inside the"
        f" package (weights `{weights}`); the same weights at half the resolution; and the same architecture with"
        " random weights, to tell what a score is worth. IoU, AP and recall in percent.\n"
    )
    yield (
        "The mask of a box ends at the box (`box_margin`). So with random weights it fills the box, and its score is"
        " that of the box itself. For the same reason the box IoU hardly tells good masks from bad.\n"
    )
    yield (
        f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} {platform.machine()} cores, Python"
        f" {platform.python_version()}. Times are of this machine, in one run.\n"
    )


if __name__ == "__main__":
    typer.run(main)
