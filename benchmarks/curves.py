"""The curves of one training run or several in a row. Run: python benchmarks/curves.py RUN... -o curves.png

A run is a folder that `pocketsam train` wrote. Runs are laid end to end over the photo passes they took, so that
a curriculum reads as one curve.
"""

import json
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PROMPTS = ("box", "1 click", "3 clicks")
SMOOTHED_OVER = 15


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, in order.", metavar="RUN...")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the picture goes.")] = Path(
        "curves.png"
    ),
) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
    passes = 0.0
    points: dict[str, list[tuple[float, float]]] = {prompt: [] for prompt in PROMPTS}
    for run in runs:
        steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        batch = json.loads((run / "recipe.json").read_text())["batch"]
        training = [s for s in steps if "iou" in s]
        x = passes + batch * np.array([s["step"] for s in training])
        left.plot(x, smooth([s["iou"] for s in training]), label=run.name)
        for step in steps:
            for prompt in PROMPTS:
                if f"val/{prompt}" in step:
                    points[prompt].append((passes + batch * step["step"], 100 * step[f"val/{prompt}"]))
        passes = float(x[-1])
        right.axvline(passes, color="0.85", zorder=0)
    left.set(title="training: IoU of the mask shown", xlabel="photos seen", ylim=(0, 1))
    left.legend(frameon=False)
    for prompt, values in points.items():
        if not values:
            continue
        right.plot(*zip(*values, strict=True), "o-", ms=3, label=prompt)
        print(f"{prompt:9}", "  ".join(f"{y:.1f}" for _, y in values))
    right.set(title="validation: mean IoU, %", xlabel="photos seen", ylim=(0, 100))
    right.legend(frameon=False)
    figure.savefig(output, dpi=110)
    print(f"Written to {output}")


def smooth(values: list[float]) -> np.ndarray:
    """The mean over a window that shrinks at the ends."""
    window = np.ones(min(SMOOTHED_OVER, len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


if __name__ == "__main__":
    typer.run(main)
