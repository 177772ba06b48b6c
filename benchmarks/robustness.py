r"""Every study of robustness, for some models. Run, from the repository:

python benchmarks/robustness.py val-000.tar --weather dawn/instances.json --second other.safetensors --limit 30 \
    -o docs/robustness.md

The models: `pocket`; its weights at half the resolution; and, with --second, a model of another architecture. With
--int8, the photos that attacks on `pocket` make are also given to its INT8 files (`pocketsam quantize`); with
--panes, the glass panes of a shard, annotations of category `glasses`, are measured as well; with --fit, a universal
perturbation that is made with those photos. Every figure comes from `pocketsam robustness`, whose results lie in
out/robustness. What is there already, measured by the same command on the same files, is not measured again, and a
run that was killed resumes: remove the folder to begin afresh. Pictures go into pictures/robustness/ beside the page.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.evaluation.output import EXAMPLES
from pocketsam.evaluation.pictures import plot
from pocketsam.evaluation.provenance import fingerprint
from pocketsam.evaluation.results import Curves, PhotoResult, Row, Table
from pocketsam.robustness.studies import STUDIES
from pocketsam.segmenter import Segmenter
from pocketsam.utils.options import flag_of

ROOT = Path(__file__).parents[1]
OUT = Path("out/robustness")
Result = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a paper found, and whether a result agrees: `holds` gives that, and the figures."""

    text: str
    holds: Callable[[Result], tuple[bool, str]]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    share: how many of the photos of `--limit` it takes, as most studies take long. every_model: or pocket alone.
    """

    key: str
    study: str
    title: str
    share: float
    options: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    every_model: bool = True


def _blur_is_worst(result: Result) -> tuple[bool, str]:
    drops = result["degradation"]["box"]
    groups = {
        "blur": ("defocus blur", "glass blur", "motion blur", "zoom blur"),
        "noise": ("gaussian noise", "shot noise", "impulse noise"),
        "digital": ("contrast", "elastic transform", "pixelate", "jpeg"),
        "weather": ("snow", "frost", "fog", "brightness"),
    }
    means = {name: 100 * sum(drops[kind] for kind in kinds) / len(kinds) for name, kinds in groups.items()}
    figures = ", ".join(f"{name} {value:.1f}" for name, value in means.items())
    return max(means, key=lambda name: means[name]) == "blur", f"degradation in points: {figures}"


def _removed(result: Result) -> tuple[bool, str]:
    found = result["attacks"]["removal, pgd-10, ε 8"]["attacked"]
    return found < 0.1, f"mIoU {found:.3f}"


def _partly_transfers(result: Result) -> tuple[bool, str]:
    one = result["attacks"]["removal, pgd-10, ε 8"]
    return one["attacked"] < one["other click"], (
        f"mIoU {one['attacked']:.3f} for the attacked click, {one['other click']:.3f} for another click"
    )


def _glass_is_harder(result: Result) -> tuple[bool, str]:
    panes = {kind: scores["interior"] for kind, scores in result["panes"].items()}
    figures = ", ".join(f"{kind} {100 * panes[kind]:.1f}" for kind in ("opaque", "clear", "mirror"))
    return panes["opaque"] > max(panes["clear"], panes["mirror"]), f"interior click, IoU in %: {figures}"


def _texture_wins(result: Result) -> tuple[bool, str]:
    bias = result["shape_bias"]
    if bias is None:
        return False, "no mask follows either"
    return bias < 0.5, f"shape bias {100 * bias:.0f} % of {result['choices']} choices"


SECTIONS = (
    Section(
        "corruptions",
        "corruptions",
        "Corruptions",
        0.2,
        findings=(Finding("Blur is worst (Huang et al., arXiv 2305.16220)", _blur_is_worst),),
    ),
    Section(
        "corruptions-everything",
        "corruptions",
        "Corruptions, in everything mode",
        0.1,
        ["--prompts", "everything", "--levels", "1,3,5"],
        every_model=False,
    ),
    Section("style", "style", "Style", 0.2),
    Section("occlusion", "occlusion", "Occlusion", 0.2),
    Section("weather", "weather", "Adverse weather that is made", 0.2),
    Section("real-weather", "real-weather", "Real weather", 0.4),
    Section(
        "glass",
        "glass",
        "Glass and mirrors",
        0.4,
        findings=(Finding("Glass and mirrors are often not found (Han et al.)", _glass_is_harder),),
    ),
    Section(
        "real-panes",
        "glass",
        "Real panes of glass: the last table; those above are of panes put into these photos",
        0.4,
    ),
    Section(
        "texture",
        "texture",
        "Texture against shape",
        0.4,
        findings=(Finding("Masks follow texture rather than shape (Zhang et al.)", _texture_wins),),
    ),
    Section(
        "attacks",
        "attacks",
        "Attacks: removal by PGD",
        0.4,
        ["--engine", "torch", "--everything"],
        findings=(
            Finding("PGD-10 at ε = 8/255 removes masks (Attack-SAM): mIoU below 0.1", _removed),
            Finding("Other prompts are hurt less (Attack-SAM)", _partly_transfers),
        ),
    ),
    Section(
        "attacks-methods",
        "attacks",
        "Attacks: methods and ε",
        0.2,
        ["--engine", "torch", "--methods", "fgsm,bim,pgd,cw", "--epsilons", "1,2,4,8,16"],
        every_model=False,
    ),
    Section(
        "attacks-steps",
        "attacks",
        "Attacks: steps",
        0.2,
        ["--engine", "torch", "--steps", "1,5,10,20,40"],
        every_model=False,
    ),
    Section(
        "attacks-goals",
        "attacks",
        "Attacks: enlargement and manipulation",
        0.2,
        ["--engine", "torch", "--goals", "enlargement,manipulation"],
        every_model=False,
    ),
    Section(
        "attacks-points",
        "attacks",
        "Attacks: at 16 random points, any of which shall give the wanted mask",
        0.2,
        ["--engine", "torch", "--goals", "removal,manipulation", "--points", "16", "--everything"],
        every_model=False,
    ),
    Section(
        "universal",
        "universal",
        "Attacks: one perturbation for all photos",
        0.4,
        ["--engine", "torch", "--epsilons", "4,8,16"],
        every_model=False,
    ),
)

SHEETS = {section.key for section in SECTIONS} - {
    "corruptions-everything",
    "real-weather",
    "real-panes",
    "universal",
}
"""The sections that have a sheet of examples."""


def main(
    shards: Annotated[list[Path], typer.Argument(help="Tar shards or folders of NAME.jpg beside NAME.json.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("robustness.md"),
    weather: Annotated[Path | None, typer.Option(help="A COCO .json with boxes in real weather.")] = None,
    photos: Annotated[Path | None, typer.Option(help="The photos of --weather, if not beside it.")] = None,
    panes: Annotated[Path | None, typer.Option(help="A shard with annotations of glass panes.")] = None,
    second: Annotated[
        Path | None, typer.Option(help="A model of another architecture, with weights.")
    ] = None,
    second_name: Annotated[str, typer.Option(help="What the page calls --second.")] = "second architecture",
    second_from: Annotated[str, typer.Option(help="Where the weights of --second are from.")] = "a file",
    fit: Annotated[
        Path | None, typer.Option(help="Photos with which the universal perturbation is made.")
    ] = None,
    int8: Annotated[
        Path | None, typer.Option(help="The folder of pocket's INT8 files, to attack too.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many photos.")] = 30,
    only: Annotated[list[str] | None, typer.Option(help="Only this section; may be repeated.")] = None,
    pocket_only: Annotated[bool, typer.Option("--pocket-only", help="No model but pocket.")] = False,
    sheets: Annotated[bool, typer.Option("--sheets", help="Draw the sheets anew, of samples/.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    models = {"pocket": "pocket"}
    if not pocket_only:
        models["pocket, 256²"] = str(half_resolution())
    if second is not None:
        models[second_name] = str(second)
    pictures = output.parent / "pictures" / "robustness"
    pictures.mkdir(parents=True, exist_ok=True)
    real_weather = [weather] if weather else []
    real_panes = [only_glasses(panes)] if panes else []
    parts, findings = [], []
    for section in SECTIONS:
        data = {"real-weather": real_weather, "real-panes": real_panes}.get(section.key, shards)
        if (only and section.key not in only) or not data or (section.key == "universal" and fit is None):
            continue
        count = max(1, round(limit * section.share))
        arguments = [section.study, *map(str, data), *section.options, "--limit", str(count)]
        if section.key == "universal":
            arguments += ["--fit", str(fit)]
        if section.key == "real-weather":
            arguments += ["--photos", str(photos or data[0].parent)]
        if section.key in ("attacks", "universal"):
            others = [model for model in models.values() if model != "pocket"]
            others += [str(int8)] if int8 else []
            arguments += [word for model in others for word in ("--against", model)]
        if sheets and section.key in SHEETS:
            draw_sheet(section, pictures)
        results = {
            name: measured(section.key, model, arguments, threads)
            for name, model in models.items()
            if section.every_model or name == "pocket"
        }
        parts.append(page_part(section, arguments, results, pictures))
        findings += [line for one in section.findings for line in judged(one, results)]
    digest = results["pocket"]["model"]["description"]["weights"]
    summary = Table("", ["the papers found", "model", "holds", "figures"], findings).markdown().strip()
    others = f' "{second_name}" has the weights of {second_from}.' if second else ""
    head = "\n".join(introduction(shards, digest, others))
    text = "\n".join([head, "## The papers' findings\n", summary + "\n", *parts])
    paths = {model: name for name, model in models.items() if name != "pocket"}
    for path, name in {**paths, str(int8): "INT8"}.items():
        text = text.replace(f" {path} |", f" {name} |")  # the columns of --against; commands stay as they are
    output.write_text(text)
    print(f"Written to {output}")


def half_resolution() -> Path:
    """The weights of `pocket` for 256 × 256 pixels."""
    from pocketsam.models.checkpoints import FILE_NAME, load_model, save_model

    folder = OUT / "models" / "pocket-256"
    folder.mkdir(parents=True, exist_ok=True)
    sam, config = load_model(ROOT / "checkpoints/pocket" / FILE_NAME)
    save_model(folder / FILE_NAME, sam.state_dict(), replace(config, name="pocket-256", image_size=256))
    return folder


def only_glasses(shard: Path) -> Path:
    """A folder with the photos of a shard that have annotations of category `glasses`, and those alone."""
    folder = OUT / "glasses"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in Shards(shard).entries:
        document = json.loads(entry.annotation.read())
        document["annotations"] = [one for one in document["annotations"] if one.get("category") == "glasses"]
        if document["annotations"]:
            (folder / f"{entry.name}.json").write_text(json.dumps(document))
            (folder / f"{entry.name}.jpg").write_bytes(entry.photo.read())
    return folder


def measured(key: str, model: str, arguments: list[str], threads: int) -> Result:
    """The result of one command; it is run unless its result lies there."""
    folder = OUT / f"{key}-{Path(model).stem}"
    words = [*arguments, "--model", model]
    note = folder / "command.json"
    files = [word for word in words if Path(word).is_file()]
    weights = Path(ROOT / "checkpoints/pocket/model.safetensors")
    job = [words, [fingerprint(Path(word)) for word in [*files, weights]]]
    if not note.exists() or json.loads(note.read_text()) != job:
        print(f"pocketsam robustness {shlex.join(words)}", flush=True)
        (folder / "result.json").unlink(missing_ok=True)  # that of other settings would not be overwritten
        run = [sys.executable, "-m", "pocketsam", "robustness", *words, "-o", folder]
        subprocess.run([*run, "--threads", str(threads), "--workers", "0"], check=True)
        note.write_text(json.dumps(job))
    return dict(json.loads((folder / "result.json").read_text()))


def page_part(section: Section, arguments: list[str], results: dict[str, Result], pictures: Path) -> str:
    """The tables of all models; the first model's curves; a sheet of examples, if drawn."""
    first = next(iter(results.values()))
    lines = [
        f"## {section.title}\n",
        f"{first['protocol']['follows']}; {first['photos']} photos. `{command(arguments)}`\n",
    ]
    for name, result in results.items():
        for table in result["tables"]:
            shown = Table(**table)
            lines.append(replace(shown, title=f"**{name}**, {shown.title}").markdown())
    curves = [
        Curves(
            one["title"],
            one["x"],
            one["y"],
            {name: [(x, y) for x, y in points] for name, points in one["lines"].items()},
        )
        for one in first["curves"]
    ]
    if curves and (picture := plot(curves)):
        (pictures / f"{section.key}.png").write_bytes(picture)
        lines.append(f"![{section.title}: curves](pictures/robustness/{section.key}.png)\n")
    if (pictures / f"{section.key}.jpg").exists():
        lines.append(f"![{section.title}: examples](pictures/robustness/{section.key}.jpg)\n")
    return "\n".join(lines)


class Own:
    """Three photos that may be shown, as samples whose mask is the one that pocket finds in a box."""

    boxes: ClassVar[dict[str, tuple[int, int, int, int]]] = {
        "tshirt": (61, 20, 446, 382),
        "sneakers": (20, 130, 342, 371),
        "cap": (40, 120, 360, 400),
    }

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def __len__(self) -> int:
        return len(self.boxes)

    def read(self, i: int) -> Sample:
        name, box = list(self.boxes.items())[i]
        photo = self.segmenter.open(ROOT / "samples" / f"{name}.jpg")
        return Sample(name, photo.image, photo.segment(boxes=box).rle, [0])


def draw_sheet(section: Section, pictures: Path) -> None:
    """The study's sheet of examples, of photos that may be shown: those of the data are not ours."""
    segmenter = Segmenter("pocket", engine="torch", threads=1)
    flags = {flag: value for flag, value in pairwise(section.options) if flag.startswith("--")}
    study = STUDIES[section.study]
    given = {name: flags.get(flag_of(name)) for name in study.options()}
    given["points"] = int(given["points"]) if given.get("points") else None
    own = Own(segmenter)
    results = [PhotoResult(i, name, rows=[Row(0, 1, {})]) for i, name in enumerate(own.boxes)]
    drawn = study(**study.read(given)).pictures(results, own, lambda: segmenter)[EXAMPLES]
    (pictures / f"{section.key}.jpg").write_bytes(drawn)


def judged(finding: Finding, results: dict[str, Result]) -> Iterator[list[str]]:
    """A line for each model: whether the paper's finding holds for it."""
    for name, result in results.items():
        holds, figures = finding.holds(result["result"])
        yield [finding.text, name, "yes" if holds else "no", figures]


def command(arguments: list[str]) -> str:
    """As a reader would type it: files by their names."""
    shown = [Path(word).name if Path(word).exists() else word for word in arguments]
    return shlex.join(["pocketsam", "robustness", *shown])


def introduction(shards: list[Path], digest: str, others: str) -> Iterator[str]:
    names = " ".join(path.name for path in shards)
    yield "# Robustness\n"
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    yield f"<!-- written by: python benchmarks/robustness.py {shlex.join(words)} -->\n"
    yield (
        "How much masks change when photos do, by the studies of `pocketsam robustness`"
        " ([how to run them](how-to/evaluate.md#robustness)). Each section says how many photos it was measured on,"
        f" the first ones of `{names}`. With few photos, differences of some points mean nothing. Studies that were"
        f" not measured have no section. The weights of `pocket` have the digest `{digest[:12]}`;"
        f' "pocket, 256²" is the same network at half the resolution, for which it was not trained.{others}\n'
    )


if __name__ == "__main__":
    typer.run(main)
