"""A run's whole state, and one step of it.

The state is a function of the recipe and the step: a run killed at any moment resumes from its last checkpoint and
ends with the weights of a run that was not killed, bit for bit (on the same machine).
"""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pocketsam.errors import InputError, PocketSAMError
from pocketsam.models.checkpoints import FILE_NAME, load_tensors, save_model, save_tensors
from pocketsam.training.batch_norm import share_batch_norm
from pocketsam.training.config import Recipe
from pocketsam.training.groups import parameter_groups
from pocketsam.training.meter import floating_point_operations
from pocketsam.training.recipe import parse_recipe
from pocketsam.training.samples.stream import Item
from pocketsam.training.sharding import drop_unused, joined, local, nothing_of, shared_like, uses, whole
from pocketsam.training.tasks import build_task

STATE_FILE = "state.safetensors"
COMPILED = ("image_encoder", "mask_decoder", "decoder", "head")
"""The parts of a model that `compile` compiles."""


class Diverged(PocketSAMError):
    """The loss is no longer a number."""


class TrainingState:
    """A run's whole state: weights, their moving average, the optimiser, the step, the best score so far.

    task: what is trained. model: its model. average: the moving average of the model's weights.
    Raises InputError or ModelError where the recipe's data or first weights cannot be used.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.fabric = recipe, fabric
        self.task = build_task(recipe)
        self.model = self.task.model
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval().to(fabric.device)
        if fabric.world_size > 1:
            share_batch_norm(self.task.loss)
        self.loss = fabric.setup_module(self.task.loss)
        groups = parameter_groups(self.model, recipe)
        optimiser = torch.optim.AdamW(groups, recipe.learning_rate, recipe.betas, fused=True)
        self.optimiser = cast(_FabricOptimizer, fabric.setup_optimizers(optimiser))
        self.is_sharded = any(isinstance(one, DTensor) for one in self.model.parameters())
        self._average = [local(one).clone() for one in self.model.parameters()] if self.is_sharded else []
        self.step, self.best = 0, -1.0

    def operations(self, batch: Item) -> int:
        """Floating-point operations of a step on one photo, forwards and backwards; leaves no trace."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        one = {name: value[:1] for name, value in batch.items()}
        with self.fabric.autocast():
            counted = floating_point_operations(lambda: self.task.loss(one, self.step)["loss"])
        self.optimiser.zero_grad()
        for name, buffer in self.model.named_buffers():
            buffer.copy_(buffers[name])
        return counted

    def compile(self) -> None:
        """Compile the parts where the time goes; what lies between them draws random numbers."""
        for name, part in self.model.named_children():
            if name in COMPILED:
                part.compile()

    def train_step(self, batch: Sequence[Item]) -> dict[str, Tensor]:
        """One step on one batch, given in `accumulate` parts; the losses, mean over them."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step) * group["rate"]
        self.loss.train()
        self._used = torch.zeros(len(list(self.model.parameters())), device=self.fabric.device)
        found = [self._backward(part, last=i + 1 == len(batch)) for i, part in enumerate(batch)]
        if self.is_sharded:
            drop_unused(self.model.parameters(), self._used)
        try:
            self.fabric.clip_gradients(self.loss, self.optimiser, max_norm=self.recipe.clip)
        except RuntimeError as error:
            raise self._diverged("gradient is no number", batch) from error
        self.optimiser.step()
        self.optimiser.zero_grad()
        self._update_average()
        self.step += 1
        return {name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}

    def _backward(self, part: Item, last: bool) -> dict[str, Tensor]:
        """Add a part's gradients; only the last one's are shared between devices."""
        with self.fabric.no_backward_sync(self.loss, enabled=not last):
            losses: dict[str, Tensor] = self.loss(part, self.step)
            loss = float(losses["loss"].detach())
            if not math.isfinite(loss):
                raise self._diverged(f"loss is {loss}", [part])
            stepped = losses["loss"] / self.recipe.accumulate
            if self.is_sharded:
                self._used += uses(stepped, self.model.parameters()).to(self.fabric.device)
                stepped = stepped + nothing_of(self.task.loss.parameters()).to(stepped.device)
            self.fabric.backward(stepped)
        return {name: value.detach() for name, value in losses.items()}

    def _diverged(self, what: str, batch: Sequence[Item]) -> Diverged:
        names = [name for part in batch for name in part.get("name", [])]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return Diverged(
            f"step {self.step}: the {what}, on {shown or 'this batch'}; {self.recipe.folder / STATE_FILE} holds the"
            " last good state; lower learning_rate, and choose another out"
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        """The moving average of the weights; slower as the run grows older, so that it forgets the start."""
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        ours: list[Tensor] = self._average or list(self.average.parameters())
        theirs: list[Tensor] = [local(one) for one in self.model.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - keep)  # one fused pass over ten million numbers
        for ours_, theirs_ in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours_.copy_(theirs_)

    @torch.no_grad()
    def gather_average(self) -> None:
        """Put the shares of the averaged weights together in `average`; on all processes at the same time."""
        for share, like, average in self._shares():
            average.copy_(joined(share, like))

    def _shares(self) -> Iterator[tuple[Tensor, nn.Parameter, nn.Parameter]]:
        """This process's share of each averaged weight, the weight itself, and the whole average."""
        if self.is_sharded:
            yield from zip(self._average, self.model.parameters(), self.average.parameters(), strict=True)

    def save_average(self) -> None:
        """Write the averaged weights: the run's result."""
        path, task = self.recipe.folder / FILE_NAME, self.task
        save_model(path, task.result(self.average), task.config, metadata=task.metadata)

    def checkpoint(self) -> None:
        """Everything that resuming needs, in one file that is replaced in one move; on all processes."""
        if not (self.is_sharded or self.fabric.is_global_zero):
            return
        self.gather_average()
        names = {p: name for name, p in self.model.named_parameters()}
        tensors = {f"model.{k}": whole(v) for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for parameter, state in self.optimiser.state.items():
            tensors |= {f"optimiser.{names[parameter]}.{k}": whole(v) for k, v in state.items()}
        if not self.fabric.is_global_zero:
            return
        metadata = {"step": str(self.step), "best": repr(self.best), "recipe": self.recipe.model_dump_json()}
        save_tensors(self.recipe.folder / STATE_FILE, tensors, metadata)

    @torch.no_grad()
    def restore(self) -> None:
        """Go on from the last checkpoint in the run's folder, if there is one of the same recipe."""
        path = self.recipe.folder / STATE_FILE
        if not path.exists():
            return
        tensors, metadata = load_tensors(path)
        saved = _same_recipe(metadata, self.recipe, path)
        for name, value in self.model.state_dict().items():
            value.copy_(shared_like(tensors[f"model.{name}"], value))
        self.average.load_state_dict(_part(tensors, "average."))
        for share, like, average in self._shares():
            share.copy_(local(shared_like(average, like)))
        for name, parameter in self.model.named_parameters():
            state = _part(tensors, f"optimiser.{name}.")
            if state:
                step = state.pop("step")
                moments = {k: shared_like(v, parameter) for k, v in state.items()}
                fused_step = step.to(parameter.device)  # where the fused optimiser expects its counter
                self.optimiser.state[parameter] = {"step": fused_step, **moments}
        self.step = int(metadata["step"])
        if (saved.val, saved.val_photos) == (self.recipe.val, self.recipe.val_photos):
            self.best = float(metadata["best"])  # scores of other photos cannot be compared


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine or a line down to `final_fraction`."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = min(1.0, (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup))
    left = 1 - done if recipe.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return recipe.learning_rate * (recipe.final_fraction + (1 - recipe.final_fraction) * left)


def _same_recipe(metadata: dict[str, str], recipe: Recipe, path: Path) -> Recipe:
    """The recipe of a checkpoint. Raises InputError where it is of another run."""
    try:
        saved = parse_recipe(json.loads(metadata["recipe"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: is of another version of PocketSAM; choose another `out`") from error
    # What the run does not depend on may change between its parts.
    free = {
        "stop",
        "workers",
        "devices",
        "parallel",
        "validate_every",
        "checkpoint_every",
        "val",
        "val_photos",
        "out",
    }
    a, b = saved.model_dump(exclude=free), recipe.model_dump(exclude=free)
    changed = ", ".join(name for name in a | b if a.get(name) != b.get(name))
    if changed:
        raise InputError(f"{path}: was made with another recipe (different: {changed}); choose another `out`")
    return saved


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
