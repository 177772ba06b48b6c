"""What tests of training share: runs on one or two processes, whether two are the same step, and refused recipes."""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor, cat

from pocketsam.errors import InputError
from pocketsam.training.config import Recipe
from pocketsam.training.loop import train
from pocketsam.training.recipe import read_recipe
from processes import start


def state_after(recipe: Recipe, processes: int = 1) -> dict[str, Tensor]:
    """The state of a run: of one in this process, or of one on several, in the environment that torchrun makes."""
    if processes == 1:
        train(recipe, quiet=True)
        return load_file(recipe.folder / "state.safetensors")
    written = recipe.folder.with_suffix(".yaml")
    written.write_text(recipe.model_dump_json(exclude_none=True))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "GROUP_RANK": 0}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
    ranks = [start("train", written, **group, RANK=rank, LOCAL_RANK=rank) for rank in range(processes)]
    for rank in ranks:
        rank.join(timeout=240)
    assert [rank.exitcode for rank in ranks] == [0] * processes
    return load_file(recipe.folder / "state.safetensors")


def state_after_torchrun(recipe: Recipe, processes: int) -> dict[str, Tensor]:
    """The state of a run that torchrun itself starts."""
    written = recipe.folder.with_suffix(".yaml")
    written.write_text(recipe.model_dump_json(exclude_none=True))
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launch, "-m", "pocketsam", "train", str(written)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return load_file(recipe.folder / "state.safetensors")


def refusal(folder: Path, values: Mapping[str, object]) -> str:
    """The one line in which a recipe is refused. values: of its fields, besides the usual; None for none."""
    usual: dict[str, object] = {"image_size": 64, "out": "x", "train": ["a.tar"], "steps": 1, "batch": 1}
    recipe = folder / "refused.yaml"
    fields = {name: value for name, value in (usual | dict(values)).items() if value is not None}
    recipe.write_text(json.dumps(fields))
    with pytest.raises(InputError) as error:
        read_recipe(recipe)
    line = str(error.value)
    assert "\n" not in line and "Value error" not in line
    return line


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
