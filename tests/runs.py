"""What tests of training share: a run on one or two processes, and whether two results are the same step."""

import subprocess
import sys

from safetensors.torch import load_file
from torch import Tensor, cat

from pocketsam.training.config import Recipe
from pocketsam.training.loop import train


def state_after(recipe: Recipe, processes: int = 1) -> dict[str, Tensor]:
    """The state of a run: of one in this process, or of one that torchrun starts on several."""
    if processes == 1:
        train(recipe, quiet=True)
    else:
        written = recipe.folder.with_suffix(".yaml")
        written.write_text(recipe.model_dump_json(exclude_none=True))
        launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        command = [sys.executable, *launch, "-m", "pocketsam", "train", str(written)]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
    return load_file(recipe.folder / "state.safetensors")


def kind_of(state: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The tensors of a state of one kind, such as the optimiser's `exp_avg`."""
    return {name: tensor for name, tensor in state.items() if name.endswith(kind)}


def assert_near(some: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    """No number differs by more than 1e-5 of the length of them all as one vector, such as the gradient's norm."""
    assert some.keys() == others.keys()
    if not some:
        return
    length = float(cat([t.flatten() for t in some.values()]).norm())
    worst = max(float((some[name] - others[name]).abs().max()) for name in some)
    assert worst <= 1e-5 * length
