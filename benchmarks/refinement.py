"""What do refined outlines change? Run: python benchmarks/refinement.py train-003.tar --limit 40

Each mask of each photo is segmented from its tightest box, with and without refinement (`pocketsam.predict.refine`).
The constants of the refinement were chosen on a training shard, never on the validation data.
"""

from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pocketsam import Segmenter
from pocketsam.data.sa1b import Shards
from pocketsam.evaluation.metrics import boundary_iou, iou
from pocketsam.predict.refine import BAND, CERTAIN, EPSILON, RADIUS, SUBSAMPLING
from pocketsam.utils.rle import boxes


def main(
    data: Annotated[list[Path], typer.Argument(help="Tar shards, or folders, in SA-1B's layout.")],
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "pocket",
    engine: Annotated[str, typer.Option(help="auto, onnx, openvino or torch.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Photos, evenly spread; all if not given.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all if not given.")] = None,
) -> None:
    shards, segmenter = Shards(data), Segmenter(model, engine, threads=threads)
    chosen = np.linspace(0, len(shards) - 1, min(limit or len(shards), len(shards))).round().astype(int)
    scores: list[tuple[float, ...]] = []
    seconds = 0.0
    for i in track(chosen, "photos"):
        sample = shards.read(int(i)).promptable()
        if not sample.rles:
            continue
        plain = segmenter.open(sample.image).segment(boxes=boxes(sample.rles))
        start = process_time()
        refined = plain.refined()
        seconds += process_time() - start
        for before, after, truth in zip(plain, refined, sample.each_mask(), strict=True):
            pair = before.binary[0], after.binary[0]
            scores.append((*(iou(one, truth) for one in pair), *(boundary_iou(one, truth) for one in pair)))

    if not scores:
        raise typer.BadParameter("there is no mask in these photos")
    means = 100 * np.mean(scores, axis=0)
    changed = np.array(scores)
    table = Table("", "plain", "refined", "better", "worse", title=f"{len(scores)} masks, mean in %")
    for name, first in (("IoU", 0), ("boundary IoU", 2)):
        difference = changed[:, first + 1] - changed[:, first]
        shares = (f"{100 * share:.0f} %" for share in ((difference > 0).mean(), (difference < 0).mean()))
        table.add_row(name, f"{means[first]:.2f}", f"{means[first + 1]:.2f}", *shares)
    console = Console()
    console.print(table)
    console.print(
        f"radius {RADIUS:g} cells, epsilon {EPSILON:g}, band {BAND:g} cells, certain beyond {CERTAIN:g},"
        f" subsampling {SUBSAMPLING:g}; {1000 * seconds / len(scores):.1f} ms of processor time for each mask"
    )


if __name__ == "__main__":
    typer.run(main)
