"""Would another rule choose a better one of the four masks? Run: python benchmarks/selection.py val-000.tar

Mean IoU of the mask that each rule takes, for boxes and random clicks, on photos that are spread over the shard. The
last line takes the best by the ground truth: no rule can do better.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from pocketsam import Segmenter
from pocketsam.automatic.filters import stability_score
from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import Sample
from pocketsam.evaluation.metrics import ious
from pocketsam.evaluation.prompting import click_name, sample_clicks
from pocketsam.evaluation.results import Table
from pocketsam.predict.candidates import Candidates, choose
from pocketsam.utils.rle import boxes

CLICKS = (1, 3)


def as_shipped(found: Candidates) -> NDArray[np.intp]:
    return choose(found.predicted_iou, found.prompts.ambiguous, found.config)


def most_confident(found: Candidates) -> NDArray[np.intp]:
    """Of all four masks, whatever the prompt."""
    return found.predicted_iou.argmax(axis=1)


def expected_iou(found: Candidates) -> NDArray[np.intp]:
    """The mask with the greatest mean IoU with all four, weighted by predicted IoU: minimum Bayes risk."""
    masks = (found.logits > 0).reshape(len(found), 4, -1).astype(np.float32)
    common = masks @ masks.transpose(0, 2, 1)
    areas = common.diagonal(axis1=1, axis2=2)
    alike = common / np.maximum(areas[:, :, None] + areas[:, None] - common, 1)
    return (alike * found.predicted_iou.clip(0)[:, None]).sum(axis=2).argmax(axis=1)


def most_stable(found: Candidates) -> NDArray[np.intp]:
    """By predicted IoU and a fifth of the stability score, whose offset is 1."""
    stability = [[stability_score(mask, offset=1.0) for mask in masks] for masks in found.logits]
    return (found.predicted_iou + 0.2 * np.array(stability)).argmax(axis=1)


RULES: dict[str, Callable[[Candidates], NDArray[np.intp]]] = {
    "as shipped": as_shipped,
    "the most confident of all four": most_confident,
    "the greatest expected IoU": expected_iou,
    "predicted IoU and stability": most_stable,
}
BEST = "the best, by the ground truth"


def main(
    shard: Annotated[Path, typer.Argument(help="A tar shard.")],
    photos: Annotated[int, typer.Option(min=1)] = 95,
) -> None:
    """Print a table of the rules."""
    data, segmenter = Shards(shard), Segmenter()
    scores: dict[tuple[str, str], list[float]] = {}
    for number in track(np.linspace(0, len(data) - 1, photos).astype(int).tolist(), "photos"):
        sample = data.read(number).promptable()
        for prompt, found in candidates(segmenter, sample).items():
            by_mask = np.stack(
                [ious(found.take([[k]] * len(found)), sample.each_mask()) for k in range(4)], 1
            )
            for name, rule in RULES.items():
                chosen = by_mask[np.arange(len(found)), rule(found)]
                scores.setdefault((name, prompt), []).extend(chosen)
            scores.setdefault((BEST, prompt), []).extend(by_mask.max(axis=1))
    prompts = list(dict.fromkeys(prompt for _, prompt in scores))
    lines = [
        [name, *(f"{100 * np.mean(scores[name, prompt]):.1f}" for prompt in prompts)]
        for name in (*RULES, BEST)
    ]
    masks = len(scores[BEST, prompts[0]])
    print(Table(f"mean IoU, %, {photos} photos, {masks} masks", ["rule", *prompts], lines).markdown())


def candidates(segmenter: Segmenter, sample: Sample) -> dict[str, Candidates]:
    """The four masks of each object, by the kind of its prompt."""
    photo = segmenter.open(sample.image)
    masks = zip(sample.each_mask(), sample.ids, strict=True)
    clicks = np.stack([sample_clicks(mask, max(CLICKS), 0, sample.name, number) for mask, number in masks])
    by_clicks = {click_name(count): photo.candidates(points=clicks[:, :count]) for count in CLICKS}
    return {"box": photo.candidates(boxes=boxes(sample.rles)), **by_clicks}


if __name__ == "__main__":
    typer.run(main)
