"""Weights, gradients and moments shared out among processes (FSDP2, `torch.distributed.fsdp.fully_shard`).

Each process keeps its share. The weights are put together for a step, and their gradients are summed and shared out
again. Files hold whole tensors, so that a run may go on with another number of processes, or without sharing.
"""

from collections.abc import Iterable

import torch
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def sharded_strategy() -> ModelParallelStrategy:
    """How Fabric shares out a module among all processes."""
    return ModelParallelStrategy(_share_out)


def _share_out(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """As one group: a loss may use any part of a model, and not only call whole modules."""
    everyone = init_device_mesh(mesh.device_type, (mesh.size(),))
    fully_shard(module, mesh=everyone, reshard_after_forward=False)
    return module


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which each process has a share; any other as it is. All processes have to call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's share of a tensor; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def joined(share: Tensor, like: Tensor) -> Tensor:
    """The whole of a tensor that is shared out as `like` is, from each process's share."""
    assert isinstance(like, DTensor)
    return DTensor.from_local(
        share, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as `like` is."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def nothing_of(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Zero, as a function of all parameters that learn: so all have a gradient, which processes sum in step.

    Which parameters a loss uses may depend on a process's photos.
    """
    return sum((p.flatten()[0] * 0 for p in parameters if p.requires_grad), torch.zeros(()))


def uses(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Which of K parameters a loss depends on, (K,) float32 of 0 and 1, by its graph."""
    seen, found, waiting = set(), set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.add(id(getattr(node, "variable", None)))
        waiting += [following for following, _ in node.next_functions]
    return torch.tensor([float(id(one) in found) for one in parameters])


def drop_unused(parameters: Iterable[nn.Parameter], used: Tensor) -> None:
    """No gradient, instead of zeros, for those that no process used: the optimiser leaves them as they are.

    used: which of them this process used, (K,).
    """
    distributed.all_reduce(used)
    for parameter, count in zip(parameters, used.tolist(), strict=True):
        if not count:
            parameter.grad = None
