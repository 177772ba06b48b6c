"""The loop every method shares: steps, moving average, curves, checkpoints, and exact resumption.

The state of a run is a function of its recipe and the step. A run killed at any moment goes on from its last
checkpoint and ends with the weights of a run that was not killed, bit for bit (on the same machine).
"""

import json
import math
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from pocketsam.data.sa1b import Shards
from pocketsam.data.sample import DataError
from pocketsam.description import Description
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import InputError, PocketSAMError
from pocketsam.evaluation.clicks import Clicks
from pocketsam.evaluation.results import Means
from pocketsam.evaluation.run import run
from pocketsam.files import write
from pocketsam.models.checkpoints import (
    FILE_NAME,
    load_published,
    load_strictly,
    load_tensors,
    save_model,
    save_tensors,
)
from pocketsam.models.prompt_encoder import PromptEncoder
from pocketsam.models.sam import MODELS, Sam
from pocketsam.segmenter import Segmenter
from pocketsam.training.recipe import Recipe
from pocketsam.training.samples import batches
from pocketsam.training.supervise import Supervise

STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"
LOG_EVERY = 10


class Diverged(PocketSAMError):
    """The loss is no longer a number."""


def train(recipe: Recipe, console: Console | None = None) -> Path:
    """Run a recipe from its last checkpoint, or from the start, to its end; returns the file of the best model."""
    fabric = Fabric(devices=_devices(recipe), strategy=_strategy(recipe), precision=_precision(recipe))
    fabric.launch()
    console = console or Console(quiet=not fabric.is_global_zero)
    if recipe.batch % fabric.world_size:
        raise InputError(f"batch: {recipe.batch} photos cannot be shared by {fabric.world_size} devices")
    run = Run(recipe, fabric)
    run.restore()
    if fabric.is_global_zero:
        write(recipe.folder / "recipe.json", recipe.model_dump_json(indent=2).encode())
    if run.step:
        console.print(f"going on at step {run.step} of {recipe.last_step}")
    if not _steps(run, console):
        message = f"stopped at step {run.step}; the same command goes on from there ({recipe.folder})"
        console.print(message, soft_wrap=True)
        raise KeyboardInterrupt
    console.print(
        f"results: {recipe.folder / FILE_NAME}; curves: tensorboard --logdir {recipe.folder}", soft_wrap=True
    )
    return recipe.folder / FILE_NAME


class Run:
    """A run's whole state: weights, their moving average, the optimiser, the step, the best score so far."""

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.fabric = recipe, fabric
        self.sam = MODELS[recipe.model](recipe.image_size)
        self.description = Description(
            recipe.model,
            recipe.image_size,
            "squash",
            click_masks=(0, 1, 2, 3),
            takes_masks=isinstance(self.sam.prompt_encoder, PromptEncoder),
            licence=recipe.licence,
        )
        if recipe.init:
            _initialise(self.sam, Path(recipe.init))
        self.average = MODELS[recipe.model](recipe.image_size).requires_grad_(False).eval()
        self.average.load_state_dict(self.sam.state_dict())
        self.average.to(fabric.device)
        method = Supervise(
            self.sam,
            recipe.rounds,
            recipe.clicks,
            recipe.pixel_loss,
            self.description.mean,
            self.description.std,
        )
        if recipe.compile:  # the two halves where the time goes; what lies between them draws random numbers
            self.sam.image_encoder.compile()
            self.sam.mask_decoder.compile()
        optimiser = torch.optim.AdamW(
            _groups(self.sam, recipe.weight_decay), recipe.learning_rate, fused=True
        )
        self.method, self.optimiser = fabric.setup(method, optimiser)
        self.val = Shards(recipe.val) if recipe.val else None
        self.step, self.best = 0, -1.0

    def advance(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step on one batch."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self.method.train()
        # One seed a step and rank: the prompts, too, are a function of the step.
        seed = (self.recipe.seed * 1_000_003 + self.step) * self.fabric.world_size + self.fabric.global_rank
        losses: dict[str, Tensor] = self.method(batch, seed)
        loss = float(losses["loss"].detach())
        if not math.isfinite(loss):
            raise Diverged(
                f"step {self.step}: the loss is {loss}; {self.recipe.folder / STATE_FILE} holds the"
                " last good state; lower learning_rate, and choose another out"
            )
        self.fabric.backward(losses["loss"])
        self.fabric.clip_gradients(self.method, self.optimiser, max_norm=self.recipe.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self._follow()
        self.step += 1
        return losses

    @torch.no_grad()
    def _follow(self) -> None:
        """The moving average of the weights; slower as the run grows older, so that it forgets the start."""
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        ours: list[Tensor] = list(self.average.parameters())
        theirs: list[Tensor] = list(self.sam.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - keep)  # one fused pass over ten million numbers
        for ours_, theirs_ in zip(self.average.buffers(), self.sam.buffers(), strict=True):
            ours_.copy_(theirs_)

    def validate(self) -> dict[str, float]:
        """Box, 1-click and 3-click mIoU of the averaged weights on `val_photos` photos, spread over the whole set."""
        assert self.val is not None
        protocol, segmenter = Clicks(), Segmenter(engine=TorchEngine(self.average, self.description))
        photos = min(self.recipe.val_photos, len(self.val))
        chosen = (i * len(self.val) // photos for i in range(photos))
        results = run(protocol, self.val, lambda: segmenter, photos=chosen)
        if missing := [result.missing for result in results if result.missing]:
            raise DataError(missing[0])
        means = Means(results)
        return {name: means[name] or 0.0 for name in protocol.columns}

    def keep(self) -> None:
        """Write the averaged weights: the run's result."""
        path = self.recipe.folder / FILE_NAME
        save_model(path, self.average.state_dict(), self.description)

    def checkpoint(self) -> None:
        """Everything that resuming needs, in one file that is replaced in one move."""
        if not self.fabric.is_global_zero:
            return
        names = {p: name for name, p in self.sam.named_parameters()}
        tensors = {f"model.{k}": v for k, v in self.sam.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for parameter, state in self.optimiser.state.items():
            tensors |= {f"optimiser.{names[parameter]}.{k}": v for k, v in state.items()}
        metadata = {"step": str(self.step), "best": repr(self.best), "recipe": self.recipe.model_dump_json()}
        save_tensors(self.recipe.folder / STATE_FILE, tensors, metadata)

    def restore(self) -> None:
        """Go on from the last checkpoint in the run's folder, if there is one of the same recipe."""
        path = self.recipe.folder / STATE_FILE
        if not path.exists():
            return
        tensors, metadata = load_tensors(path)
        _same_recipe(metadata, self.recipe, path)
        self.sam.load_state_dict(_part(tensors, "model."))
        self.average.load_state_dict(_part(tensors, "average."))
        for name, parameter in self.sam.named_parameters():
            state = _part(tensors, f"optimiser.{name}.")
            if state:
                step = state.pop("step")
                moments = {k: v.to(parameter.device) for k, v in state.items()}
                fused_step = step.to(parameter.device)  # where the fused optimiser expects its counter
                self.optimiser.state[parameter] = {"step": fused_step, **moments}
        self.step, self.best = int(metadata["step"]), float(metadata["best"])


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to `final_fraction`."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return recipe.learning_rate * (recipe.final_fraction + (1 - recipe.final_fraction) * cosine)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The signals to stop that have come: a step is finished before they are heeded."""
    came: list[int] = []
    heeded = (signal.SIGINT, signal.SIGTERM)
    former = [signal.signal(number, lambda n, _: came.append(n)) for number in heeded]
    try:
        yield came
    finally:
        for number, handler in zip(heeded, former, strict=True):
            signal.signal(number, handler)


def _steps(run: Run, console: Console) -> bool:
    """From the run's step to its end; False where a signal ended it before."""
    recipe, fabric = run.recipe, run.fabric
    loader = fabric.setup_dataloaders(
        batches(recipe, run.step, fabric.global_rank, fabric.world_size), use_distributed_sampler=False
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with (
        _interrupts() as interrupts,
        Progress(*columns, console=console) as progress,
        _Curves(recipe, run.step, fabric.is_global_zero) as curves,
    ):
        task = progress.add_task("training", total=recipe.last_step, completed=run.step, status="")
        began, first = time.perf_counter(), run.step
        for batch in cast(Iterable[dict[str, Tensor] | DataError], loader):
            if isinstance(batch, DataError):
                raise batch
            losses = run.advance(batch)
            if run.step % LOG_EVERY == 0:
                speed = (run.step - first) * recipe.batch / (time.perf_counter() - began)
                values = {name: float(value.detach()) for name, value in losses.items()}
                curves.write(
                    run.step, **values, learning_rate=learning_rate(recipe, run.step), photos_s=speed
                )
                status = f"loss {values['loss']:.3f}  IoU {values['iou']:.3f}  {speed:.1f} photos/s"
                progress.update(task, status=status)
            last = run.step == recipe.last_step
            progress.update(task, completed=run.step)
            if fabric.is_global_zero and (last or run.step % recipe.validate_every == 0):
                _validate(run, curves, console)
            interrupted = _any_rank(fabric, bool(interrupts))
            if last or interrupted or run.step % recipe.checkpoint_every == 0:
                run.checkpoint()
            if interrupted and not last:
                return False
    return True


def _any_rank(fabric: Fabric, here: bool) -> bool:
    """Whether it is so on any rank: all must leave the loop together, or those left wait for ever."""
    if fabric.world_size == 1:
        return here
    total = fabric.all_reduce(torch.tensor(float(here), device=fabric.device), reduce_op="sum")
    return bool(cast(Tensor, total) > 0)


def _validate(run: Run, curves: "_Curves", console: Console) -> None:
    if run.val is None:
        run.keep()
        return
    scores = run.validate()
    mean = sum(scores.values()) / len(scores)
    if mean > run.best:
        run.best = mean
        run.keep()
    curves.write(run.step, **{f"val/{name}": value for name, value in scores.items()})
    console.print(f"step {run.step}: " + "  ".join(f"{k} {100 * v:.1f}" for k, v in scores.items()))


class _Curves:
    """The run's log: a line of JSON a time, and the same for TensorBoard."""

    def __init__(self, recipe: Recipe, first_step: int, active: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.active = active
        if active:
            recipe.folder.mkdir(parents=True, exist_ok=True)
            self.writer = SummaryWriter(str(recipe.folder), purge_step=first_step)
            self.log = (recipe.folder / LOG_FILE).open("a")

    def __enter__(self) -> "_Curves":
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self.writer.close()
            self.log.close()

    def write(self, step: int, **values: float) -> None:
        if not self.active:
            return
        print(json.dumps({"step": step, **values}), file=self.log, flush=True)
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)


def _devices(recipe: Recipe) -> int | str:
    # On a CPU "auto" would start a process a core; threads share the work better.
    return recipe.devices if torch.cuda.is_available() or recipe.devices != "auto" else 1


def _strategy(recipe: Recipe) -> str:
    # The encoder's classifier, and the mask encoder in a run of one round, get no gradient.
    several = _devices(recipe) != 1 and (_devices(recipe) != "auto" or torch.cuda.device_count() > 1)
    return "ddp_find_unused_parameters_true" if several else "auto"


def _precision(recipe: Recipe) -> Literal["32-true", "bf16-mixed"]:
    """bf16 where the hardware multiplies it."""
    if recipe.precision != "auto":
        return recipe.precision
    fast = (
        torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    )
    return "bf16-mixed" if fast else "32-true"


def _groups(sam: Sam, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices only: not on biases, scales or learned tokens."""
    parameters = list(sam.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2 and p.shape[0] > 4], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2 or p.shape[0] <= 4], "weight_decay": 0.0},
    ]


def _initialise(sam: Sam, path: Path) -> None:
    """Start from the weights in `path`; an encoder of another architecture is not taken over."""
    tensors, _ = load_published(path)
    own = sam.state_dict()
    same_encoder = all(n in own and own[n].shape == t.shape for n, t in tensors.items())
    chosen = {n: t for n, t in tensors.items() if same_encoder or not n.startswith("image_encoder.")}
    load_strictly(sam, own | chosen, path)


def _same_recipe(metadata: dict[str, str], asked: Recipe, path: Path) -> None:
    try:
        saved = Recipe.model_validate_json(metadata["recipe"])
    except (KeyError, ValidationError) as error:
        raise InputError(f"{path}: is of another version of PocketSAM; choose another `out`") from error
    # What the run does not depend on may change between its parts.
    free = {"stop", "workers", "devices", "validate_every", "checkpoint_every", "val", "val_photos", "out"}
    a, b = saved.model_dump(exclude=free), asked.model_dump(exclude=free)
    changed = ", ".join(name for name in a if a[name] != b[name])
    if changed:
        raise InputError(f"{path}: was made with another recipe (different: {changed}); choose another `out`")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
