"""What `benchmarks/distillation.py orderings` trained, to look at: curves, the trade-off, and masks side by side.

Run: python benchmarks/distillation_pictures.py --photos path/to/photos -o docs/pictures/distillation
"""

import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from curves import smooth
from distillation import RUNS, open_student, run_folder
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from pocketsam.data.sa1b import Shards
from pocketsam.models.checkpoints import FILE_NAME
from pocketsam.training.loop import LOG_FILE
from pocketsam.utils.rle import boxes as tightest_boxes
from pocketsam.utils.rle import decode

SHOWN = ("decoupled", "semi-coupled", "coupled", "full-stage")
PHOTOS = (3, 40, 112, 200, 318)
"""Of the validation photos, five that differ: nothing else speaks for them."""


def main(
    photos: Annotated[Path, typer.Option(help="The folder of val-000.tar.")],
    folder: Annotated[Path, typer.Option(help="What `orderings` trained.")] = Path("runs/distillation"),
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder.")] = Path("."),
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    draw_curves(folder, output / "curves.png")
    draw_sheet(folder, Shards(photos / "val-000.tar"), output / "masks.jpg")


def draw_curves(folder: Path, path: Path) -> None:
    """How the training loss fell, as a fraction of its start; and where the students ended."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name in SHOWN:
        run = run_folder(folder, name, seed=0)
        steps = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
        loss = np.array(smooth([step["loss"] for step in steps]))
        batch = json.loads((run / "recipe.json").read_text())["batch"]
        left.plot([batch * step["step"] for step in steps], loss / loss[0], label=name)
    left.set(title="training loss, 1 at the start", xlabel="photos seen", yscale="log")
    left.legend(frameon=False)
    for name in RUNS:
        files = (run_folder(folder, name, seed) / "result.json" for seed in (0, 1))
        found = [json.loads(file.read_text()) for file in files if file.exists()]
        x, y = ([one[key] for one in found] for key in ("teacher, click", "teacher, box"))
        right.plot(x, y, "o", label=name)
    right.set(title="mean IoU with the teacher, %; a dot a seed", xlabel="by a click", ylabel="by a box")
    right.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=110)
    print(f"Written to {path}")


def draw_sheet(folder: Path, val: Shards, path: Path) -> None:
    """Each photo twice: its three largest objects by their boxes, and the largest one by a click."""
    models = {"teacher": folder / "teacher" / FILE_NAME}
    models |= {name: run_folder(folder, name, seed=0) / FILE_NAME for name in SHOWN}
    asked = [prompts for i in PHOTOS for prompts in prompts_of(val, i)]
    figure, axes = plt.subplots(
        len(asked), len(models), figsize=(2.6 * len(models), 1.9 * len(asked)), layout="constrained"
    )
    for column, (name, file) in enumerate(models.items()):
        segmenter = open_student(file)
        axes[0, column].set_title(name)
        for row, (image, prompts) in enumerate(asked):
            axes[row, column].imshow(segmenter.open(image).segment(**prompts).overlay())
            axes[row, column].axis("off")
    figure.savefig(path, dpi=80)
    print(f"Written to {path}")


def prompts_of(val: Shards, index: int) -> list[tuple[NDArray[np.uint8], dict[str, Any]]]:
    """The photo, with the boxes of its three largest objects, and with a click near the middle of the largest."""
    sample = val.read(index).promptable()
    largest = sorted(sample.rles, key=lambda rle: np.count_nonzero(decode(rle)), reverse=True)[:3]
    inside = np.argwhere(decode(largest[0]))
    y, x = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()] + 0.5
    return [(sample.image, {"boxes": tightest_boxes(largest)}), (sample.image, {"points": [(x, y)]})]


if __name__ == "__main__":
    typer.run(main)
