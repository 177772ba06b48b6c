"""The loop every method shares: steps, moving average, curves, checkpoints, and exact resumption.

The state of a run is a function of its recipe and the step. A run killed at any moment goes on from its last
checkpoint and ends with the weights of a run that was not killed, bit for bit (on the same machine).
"""

import copy
import json
import math
import signal
from collections.abc import Iterable, Iterator, Sequence
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
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import InputError, PocketSAMError
from pocketsam.evaluation.clicks import Clicks
from pocketsam.evaluation.results import Means
from pocketsam.evaluation.run import run
from pocketsam.files import write
from pocketsam.models.checkpoints import FILE_NAME, load_tensors, save_model, save_tensors
from pocketsam.models.sam import Sam
from pocketsam.segmenter import Segmenter
from pocketsam.training.batch_norm import share_batch_norm
from pocketsam.training.meter import Speed, floating_point_operations, matrix_rate
from pocketsam.training.methods import build
from pocketsam.training.recipe import Recipe
from pocketsam.training.samples import Item, batches

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
    if recipe.batch // fabric.world_size % recipe.accumulate:
        raise InputError(
            f"accumulate: {recipe.batch // fabric.world_size} photos a device cannot be taken in"
            f" {recipe.accumulate} equal parts"
        )
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
        self.sam, self.description, self.plain_method = build(recipe)
        self.average = copy.deepcopy(self.sam).requires_grad_(False).eval().to(fabric.device)
        if fabric.world_size > 1:
            share_batch_norm(self.sam)
        optimiser = torch.optim.AdamW(
            _groups(self.sam, recipe.weight_decay), recipe.learning_rate, fused=True
        )
        self.method, self.optimiser = fabric.setup(self.plain_method, optimiser)
        self.val = Shards(recipe.val) if recipe.val else None
        self.step, self.best = 0, -1.0

    def operations(self, batch: Item) -> int:
        """Floating-point operations of a step on one photo, forwards and backwards; leaves no trace."""
        buffers = {name: buffer.clone() for name, buffer in self.sam.named_buffers()}
        one = {name: value[:1] for name, value in batch.items()}
        with self.fabric.autocast():
            counted = floating_point_operations(lambda: self.plain_method(one, self.step)["loss"])
        self.optimiser.zero_grad()
        for name, buffer in self.sam.named_buffers():
            buffer.copy_(buffers[name])
        return counted

    def compile(self) -> None:
        """Compile the two halves where the time goes; what lies between them draws random numbers."""
        self.sam.image_encoder.compile()
        self.sam.mask_decoder.compile()

    def advance(self, batch: Sequence[Item]) -> dict[str, Tensor]:
        """One step on one batch, given in `accumulate` parts; the losses, mean over them."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self.method.train()
        found = [self._learn(part, last=i + 1 == len(batch)) for i, part in enumerate(batch)]
        try:
            self.fabric.clip_gradients(self.method, self.optimiser, max_norm=self.recipe.clip)
        except RuntimeError as error:
            raise self._diverged("gradient is no number", batch) from error
        self.optimiser.step()
        self.optimiser.zero_grad()
        self._follow()
        self.step += 1
        return {name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}

    def _learn(self, part: Item, last: bool) -> dict[str, Tensor]:
        """Add a part's gradients; only the last one's are shared between devices."""
        with self.fabric.no_backward_sync(self.method, enabled=not last):
            losses: dict[str, Tensor] = self.method(part, self.step)
            loss = float(losses["loss"].detach())
            if not math.isfinite(loss):
                raise self._diverged(f"loss is {loss}", [part])
            self.fabric.backward(losses["loss"] / self.recipe.accumulate)
        return {name: value.detach() for name, value in losses.items()}

    def _diverged(self, what: str, batch: Sequence[Item]) -> Diverged:
        names = [name for part in batch for name in part.get("name", [])]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return Diverged(
            f"step {self.step}: the {what}, on {shown or 'this batch'}; {self.recipe.folder / STATE_FILE} holds the"
            " last good state; lower learning_rate, and choose another out"
        )

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
    teacher = run.plain_method.teacher
    loader = fabric.setup_dataloaders(
        batches(
            recipe,
            run.step,
            fabric.global_rank,
            fabric.world_size,
            run.description.resize,
            teacher.description if teacher else None,
        ),
        use_distributed_sampler=False,
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
        speed: Speed | None = None
        for batch in _whole_batches(cast(Iterable[Item | DataError], loader), recipe.accumulate):
            speed = speed or _prepare(run, batch)
            losses = run.advance(batch)
            speed.count(recipe.batch)
            if run.step % LOG_EVERY == 0:
                values = {name: float(value) for name, value in losses.items()}
                rate = {"photos_s": speed.photos_a_second, "share": speed.share}
                curves.write(run.step, **values, learning_rate=learning_rate(recipe, run.step), **rate)
                iou = f"  IoU {values['iou']:.3f}" if "iou" in values else ""
                progress.update(task, status=f"loss {values['loss']:.3f}{iou}  {speed}")
            last = run.step == recipe.last_step
            progress.update(task, completed=run.step)
            if last or run.step % recipe.validate_every == 0:
                if fabric.is_global_zero:
                    _validate(run, curves, console)
                speed.pause()
            interrupted = _any_rank(fabric, bool(interrupts))
            if last or interrupted or run.step % recipe.checkpoint_every == 0:
                run.checkpoint()
            if interrupted and not last:
                return False
        if speed:
            console.print(f"{speed}")
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


def _prepare(run: Run, batch: Sequence[Item]) -> Speed:
    """Before the first step: count what a photo costs, find out how fast the device is, and compile."""
    operations = run.operations(batch[0])
    dtype = torch.float32 if _precision(run.recipe) == "32-true" else torch.bfloat16
    speed = Speed(operations, matrix_rate(run.fabric.device, dtype) * run.fabric.world_size)
    if run.recipe.compile:
        run.compile()
    return speed


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
    parameters = [p for p in sam.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2 and p.shape[0] > 4], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2 or p.shape[0] <= 4], "weight_decay": 0.0},
    ]


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
