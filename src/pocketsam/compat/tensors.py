"""Tensors, where PyTorch is installed; arrays, where it is not."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


def to_array(values: "Tensor | ArrayLike") -> NDArray[np.float32]:
    """A tensor of any device and kind, or an array, as float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values, np.float32)


def to_tensor(array: NDArray[Any], device: Any) -> "Tensor":
    """An array as a tensor on a device. Raises ModelError where PyTorch is not installed."""
    torch = find_torch()
    if torch is None:
        raise ModelError("tensors need PyTorch: pip install torch, or use predict, which does without")
    tensor: Tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    return tensor


def find_torch() -> Any:
    """PyTorch, or None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch
