"""Which prediction is to learn which object: the cheapest pairing of all (arXiv 2005.12872, section 3.1)."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def cheapest_pairs(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and columns of the pairs whose costs (N, T) have the least sum: (min(N, T),) int64 each.

    By the Hungarian method; each row and each column is in one pair at most. Costs that are not finite count as very
    high.
    """
    finite = torch.nan_to_num(cost.detach().float(), nan=1e6, posinf=1e6, neginf=-1e6)
    rows, columns = linear_sum_assignment(finite.cpu().numpy())
    return torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device)
