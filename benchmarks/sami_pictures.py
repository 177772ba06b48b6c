"""Pictures of masked pretraining: how its loss fell, and what the pretrained encoder attends to.

`benchmarks/sami.py` draws them. The attention of other encoders:
python benchmarks/sami_pictures.py RUN... --photos photos.tar -o attention.jpg
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import cv2
import matplotlib
import numpy as np
import torch
import typer
from curves import smooth
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from pocketsam.data.datasets import evenly_spread, open_dataset
from pocketsam.models.checkpoints import FILE_NAME, load_tensors
from pocketsam.models.encoders.sam_vit import PATCH
from pocketsam.models.encoders.vit import ViT
from pocketsam.models.layers import Normalise
from pocketsam.training.augment import scaled
from pocketsam.training.loop import LOG_FILE
from pocketsam.utils.rle import decode

SIZE = 224
"""Pixels a side of the photos that the encoder is given."""
PHOTOS = 5


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of pretraining runs.", metavar="RUN...")],
    photos: Annotated[
        Path, typer.Option(help="Photos with masks: the query is the middle of the largest one.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="A picture.")] = Path("attention.jpg"),
) -> None:
    draw_attention({run.name: run for run in runs}, photos, output)


def draw_curves(runs: Mapping[str, Path], path: Path) -> None:
    """The loss of every run as a fraction of its start: those of pixels, embeddings and angles differ in unit."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, run in runs.items():
        log = run / LOG_FILE
        steps = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        if not steps:
            continue
        batch = json.loads((run / "recipe.json").read_text())["batch"]
        loss = smooth([step["loss"] for step in steps])
        axes.plot([batch * step["step"] for step in steps], loss / loss[0], label=name)
    axes.set(title="pretraining loss, 1 at the start", xlabel="photos seen")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"Written to {path}")


def draw_attention(runs: Mapping[str, Path], photos: Path, path: Path) -> None:
    """Of each photo the middle of its largest object, and how much every patch counts for it in the last block."""
    dataset = open_dataset([photos])
    samples = [dataset.read(i).promptable() for i in evenly_spread(len(dataset), PHOTOS)]
    encoders = {"random weights": ViT()} | {name: load_encoder(run / FILE_NAME) for name, run in runs.items()}
    figure, axes = plt.subplots(
        len(samples),
        1 + len(encoders),
        figsize=(2.2 * (1 + len(encoders)), 2.2 * len(samples)),
        layout="constrained",
    )
    for row, sample in zip(axes, samples, strict=True):
        image = scaled(sample.image, SIZE)
        largest = max((decode(rle) for rle in sample.rles), key=np.count_nonzero)
        query = middle(cv2.resize(largest.astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST))
        row[0].imshow(image)
        row[0].plot(*query, "o", color="red", markeredgecolor="white")
        for axis, encoder in zip(row[1:], encoders.values(), strict=True):
            axis.imshow(image)
            axis.imshow(attention(encoder, image, query), cmap="inferno", alpha=0.7)
    for axis, name in zip(axes[0], ["query", *encoders], strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(path, dpi=80)
    plt.close(figure)
    print(f"Written to {path}")


def load_encoder(path: Path) -> ViT:
    """The encoder of a pretraining's file."""
    tensors = {name.removeprefix("image_encoder."): tensor for name, tensor in load_tensors(path)[0].items()}
    encoder = ViT.like({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    encoder.load_state_dict(tensors, strict=False)  # without its neck
    return encoder.eval()


@torch.no_grad()
def attention(encoder: ViT, image: NDArray[np.uint8], query: tuple[int, int]) -> NDArray[np.float32]:
    """How much each patch counts for the patch at `query` in the last block, mean over its heads: (SIZE, SIZE)."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    normalise = Normalise((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    tokens = encoder.tokens(normalise(pixels))
    *blocks, last = encoder.blocks
    for block in blocks:
        tokens = block(tokens)
    q, k, _ = last.attn.qkv(last.norm1(tokens)).unflatten(2, (3, last.attn.heads, -1)).permute(2, 0, 3, 1, 4)
    side = SIZE // PATCH
    place = query[1] // PATCH * side + query[0] // PATCH
    weights = (q[0, :, place : place + 1] @ k[0].transpose(1, 2) / q.shape[3] ** 0.5).softmax(-1).mean(0)
    return np.asarray(
        cv2.resize(weights.view(side, side).numpy(), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    )


def middle(mask: NDArray[np.uint8]) -> tuple[int, int]:
    """The pixel (x, y) of a mask that lies farthest from its border."""
    padded = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(padded.argmax()), padded.shape)
    return int(x), int(y)


if __name__ == "__main__":
    typer.run(main)
