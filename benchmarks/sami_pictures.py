"""Pictures of masked pretraining: how its loss fell, and what the pretrained encoder attends to.

`benchmarks/sami.py` draws them. The attention of other encoders:
python benchmarks/sami_pictures.py RUN... -o attention.jpg
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

from pocketsam.data.sample import read_photo
from pocketsam.models.checkpoints import FILE_NAME, load_tensors
from pocketsam.models.encoders.sam_vit import PATCH
from pocketsam.models.encoders.vit import ViT
from pocketsam.models.layers import Normalise
from pocketsam.training.loop import LOG_FILE
from pocketsam.training.samples.augment import scaled

SIZE = 224
"""Pixels a side of the photos that the encoder is given."""
SAMPLES = Path("samples")
QUERIES = {"tshirt.jpg": (0.46, 0.5), "sneakers.jpg": (0.45, 0.6), "cap.jpg": (0.5, 0.45)}
"""Photos, and a point of each object, (x, y) as fractions of the sides."""


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of pretraining runs.", metavar="RUN...")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A picture.")] = Path("attention.jpg"),
) -> None:
    draw_attention({run.name: run for run in runs}, output)


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


def draw_attention(runs: Mapping[str, Path], path: Path) -> None:
    """How much every patch of a photo counts for the one at the query, in the last block of each encoder."""
    encoders = {"random weights": ViT()} | {name: load_encoder(run / FILE_NAME) for name, run in runs.items()}
    columns, rows = 1 + len(encoders), len(QUERIES)
    figure, axes = plt.subplots(rows, columns, figsize=(2.2 * columns, 2.2 * rows), layout="constrained")
    for row, (name, (x, y)) in zip(axes, QUERIES.items(), strict=True):
        image, query = scaled(read_photo(SAMPLES / name), SIZE), (int(x * SIZE), int(y * SIZE))
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


if __name__ == "__main__":
    typer.run(main)
