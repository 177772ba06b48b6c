"""The layers that several parts of the family share."""

import pytest
import torch
from torch.nn import functional as F

from pocketsam.models.layers import attend


def parts(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, n, 16, generator=generator).to(dtype).requires_grad_() for n in (5, 9, 9)]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_attention_and_its_gradients_are_those_of_the_definition(dtype: torch.dtype, close: float) -> None:
    q, k, v = parts(dtype)
    wanted = F.scaled_dot_product_attention(*(x.detach().double().requires_grad_() for x in (q, k, v)))
    got = attend(q, k, v)
    assert got.dtype == dtype
    assert torch.allclose(got.double(), wanted, atol=close)

    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    weights = (exact[0] @ exact[1].mT / 4).softmax(dim=-1)
    for ours, theirs in zip(
        torch.autograd.grad(got.sum(), (q, k, v)),
        torch.autograd.grad((weights @ exact[2]).sum(), exact),
        strict=True,
    ):
        assert torch.allclose(ours.double(), theirs, atol=20 * close)


def test_attention_without_gradients_is_the_fused_one() -> None:
    q, k, v = (x.detach() for x in parts(torch.bfloat16))
    assert torch.equal(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
