"""The loop that every method shares: steps, progress, curves, validation, checkpoints, and a clean end."""

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.strategy import Strategy
from torch import Tensor

from pocketsam.errors import DataError, InputError
from pocketsam.models.checkpoints import FILE_NAME
from pocketsam.training.config import Recipe
from pocketsam.training.meter import Speed, matrix_rate
from pocketsam.training.samples.stream import Item, batches
from pocketsam.training.sharding import sharded_strategy
from pocketsam.training.state import TrainingState, learning_rate
from pocketsam.utils.files import write
from pocketsam.utils.progress import Progress

LOG_FILE = "log.jsonl"
LOG_EVERY = 10


def train(recipe: Recipe, quiet: bool = False) -> Path:
    """Run a recipe from its last checkpoint, or from the start, to its end; returns the file of the best model.

    quiet: print nothing.
    Raises InputError, ModelError or DataError where something in the recipe cannot be used. KeyboardInterrupt when
    SIGINT or SIGTERM stopped the run, which then was saved after a whole step.
    """
    fabric = Fabric(devices=_devices(recipe), strategy=_strategy(recipe), precision=_precision(recipe))
    fabric.launch()
    if recipe.batch % fabric.world_size:
        raise InputError(f"batch: {recipe.batch} photos cannot be shared by {fabric.world_size} devices")
    if recipe.batch // fabric.world_size % recipe.accumulate:
        raise InputError(
            f"accumulate: {recipe.batch // fabric.world_size} photos a device cannot be taken in"
            f" {recipe.accumulate} equal parts"
        )
    state = TrainingState(recipe, fabric)
    state.restore()
    if fabric.is_global_zero:
        write(recipe.folder / "recipe.json", recipe.model_dump_json(indent=2).encode())
    quiet = quiet or not fabric.is_global_zero
    with _flushed_denormals(), Progress("training", recipe.last_step, state.step, quiet=quiet) as progress:
        if state.step:
            progress.print(f"going on at step {state.step} of {recipe.last_step}")
        if not _steps(state, progress):
            progress.print(f"stopped at step {state.step}; the same command resumes there ({recipe.folder})")
            raise KeyboardInterrupt
    path = recipe.folder / FILE_NAME
    if not quiet:
        print(f"results: {path}; curves: tensorboard --logdir {recipe.folder}")
    return path


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Gradients too small for a normal number cost a processor many times as long, and teach nothing."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


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


def _steps(state: TrainingState, progress: Progress) -> bool:
    """From the state's step to the end of the run; False where a signal ended it before."""
    recipe, fabric = state.recipe, state.fabric
    loader = fabric.setup_dataloaders(
        batches(state.task.samples, recipe, state.step, fabric.global_rank, fabric.world_size),
        use_distributed_sampler=False,
    )
    with (
        _interrupts() as interrupts,
        _Curves(recipe, state.step, fabric.is_global_zero) as curves,
    ):
        speed: Speed | None = None
        status = ""
        for batch in _whole_batches(cast(Iterable[Item | DataError], loader), recipe.accumulate):
            speed = speed or _prepare(state, batch)
            losses = state.train_step(batch)
            speed.count(recipe.batch)
            if state.step % LOG_EVERY == 0:
                values = {name: float(value) for name, value in losses.items()}
                rate = {"photos_s": speed.photos_a_second, "share": speed.share}
                curves.write(state.step, **values, learning_rate=learning_rate(recipe, state.step), **rate)
                iou = f"  IoU {values['iou']:.3f}" if "iou" in values else ""
                status = f"loss {values['loss']:.3f}{iou}  {speed}"
            last = state.step == recipe.last_step
            progress.update(state.step, status=status)
            if last or state.step % recipe.validate_every == 0:
                state.gather_average()
                if fabric.is_global_zero:
                    _validate(state, curves, progress)
                speed.pause()
            interrupted = _any_rank(fabric, bool(interrupts))
            if last or interrupted or state.step % recipe.checkpoint_every == 0:
                state.checkpoint()
            if interrupted and not last:
                return False
    return True


def _whole_batches(parts: Iterable[Item | DataError], accumulate: int) -> Iterator[list[Item]]:
    """The parts of each step together. Raises what broke one of them."""
    batch: list[Item] = []
    for part in parts:
        if isinstance(part, DataError):
            raise part
        batch.append(part)
        if len(batch) == accumulate:
            yield batch
            batch = []


def _prepare(state: TrainingState, batch: Sequence[Item]) -> Speed:
    """Before the first step: count what a photo costs, find out how fast the device is, and compile."""
    operations = state.operations(batch[0])
    dtype = torch.float32 if _precision(state.recipe) == "32-true" else torch.bfloat16
    speed = Speed(operations, matrix_rate(state.fabric.device, dtype) * state.fabric.world_size)
    if state.recipe.compile:
        state.compile()
    return speed


def _any_rank(fabric: Fabric, here: bool) -> bool:
    """Whether it is so on any rank: all must leave the loop together, or those left wait for ever."""
    if fabric.world_size == 1:
        return here
    total = fabric.all_reduce(torch.tensor(float(here), device=fabric.device), reduce_op="sum")
    return bool(cast(Tensor, total) > 0)


def _validate(state: TrainingState, curves: "_Curves", progress: Progress) -> None:
    if state.task.validate is None:
        state.save_average()
        return
    scores = state.task.validate(state.average)
    mean = sum(scores.values()) / len(scores)
    if mean > state.best:
        state.best = mean
        state.save_average()
    curves.write(state.step, **{f"val/{name}": value for name, value in scores.items()})
    progress.print(f"step {state.step}: " + "  ".join(f"{k} {100 * v:.1f}" for k, v in scores.items()))


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


def _strategy(recipe: Recipe) -> str | Strategy:
    # The encoder's classifier, and the mask encoder in a run of one round, get no gradient.
    several = _devices(recipe) != 1 and (_devices(recipe) != "auto" or torch.cuda.device_count() > 1)
    if several and recipe.parallel == "fsdp":
        return sharded_strategy()
    return "ddp_find_unused_parameters_true" if several else "auto"


def _precision(recipe: Recipe) -> Literal["32-true", "bf16-mixed"]:
    """bf16 where the hardware multiplies it."""
    if recipe.precision != "auto":
        return recipe.precision
    fast = (
        torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    )
    return "bf16-mixed" if fast else "32-true"
