"""What every model of the family must do, whatever its weights."""

import pytest
import torch

from pocketsam.models.architectures import ARCHITECTURES, build
from pocketsam.models.encoders.tiny_vit import WindowAttention
from pocketsam.models.layers import from_windows, to_windows

SIZE = 128


@pytest.fixture(scope="module")
def sam() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("pocket", SIZE).eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [64, 192])
def test_embeddings_follow_the_input(name: str, size: int) -> None:
    with torch.device("meta"):  # shapes without numbers
        sam = build(name, size).eval()
        embedding = sam.encode(torch.empty(1, 3, size, size))
    assert embedding.shape == (1, sam.embedding_channels, size // 16, size // 16)


@pytest.mark.parametrize("name", ["pocket", "patches", "efficient_sam_ti"])
@pytest.mark.parametrize("size", [64, 192])
@torch.no_grad()
def test_masks_follow_the_input(name: str, size: int) -> None:
    sam = build(name, size).eval()
    points, labels = torch.rand(1, 2, 1, 2) * size, torch.ones(1, 2, 1)
    logits, iou = sam.decode(sam.encode(torch.randn(1, 3, size, size)), points, labels)
    assert logits.shape == (1, 2, 4, size // 4, size // 4)
    assert iou.shape == (1, 2, 4)


@pytest.mark.parametrize("size", [0, 100, -64])
def test_sizes_that_do_not_divide_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        build("pocket", size)


@torch.no_grad()
def test_images_and_objects_do_not_mix(sam: torch.nn.Module) -> None:
    """Two images with three objects each give what six calls give: points, a box, a mask, and none."""
    generator = torch.Generator().manual_seed(1)
    embedding = torch.randn(2, 256, 8, 8, generator=generator)
    points = torch.rand(2, 3, 3, 2, generator=generator) * SIZE
    labels = torch.tensor([[[1, 0, -1], [1, 2, 3], [-1, 2, 3]]] * 2)
    masks = torch.randn(2, 3, 32, 32, generator=generator)
    has_mask = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    together, iou = sam.decode(embedding, points, labels, masks, has_mask)
    for image in range(2):
        for n in range(3):
            mask = masks[image, n][None, None] if has_mask[image, n] else None
            prompt = points[image, n][None, None], labels[image, n][None, None]
            alone, iou_alone = sam.decode(embedding[image][None], *prompt, mask)
            torch.testing.assert_close(together[image, n], alone[0, 0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(iou[image, n], iou_alone[0, 0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_order_of_points_does_not_matter(sam: torch.nn.Module) -> None:
    embedding, points = torch.randn(1, 256, 8, 8), torch.rand(1, 1, 3, 2) * SIZE
    labels = torch.tensor([[[1, 0, -1]]])
    there, _ = sam.decode(embedding, points, labels)
    back, _ = sam.decode(embedding, points.flip(2), labels.flip(2))
    torch.testing.assert_close(there, back, atol=1e-5, rtol=1e-4)


def test_every_parameter_but_the_classifier_learns(sam: torch.nn.Module) -> None:
    sam.zero_grad()
    points, labels = torch.rand(1, 5, 1, 2) * SIZE, torch.tensor([[[-1], [0], [1], [2], [3]]])
    has_mask = torch.tensor([[0.0, 0.0, 1.0, 0.0, 1.0]])
    embedding = sam.encode(torch.randn(1, 3, SIZE, SIZE))
    logits, iou = sam.decode(embedding, points, labels, torch.randn(1, 5, 32, 32), has_mask)
    (logits.square().mean() + iou.sum()).backward()
    idle = {name for name, p in sam.named_parameters() if p.grad is None or not p.grad.any()}
    sam.zero_grad()
    assert {name.split(".")[1] for name in idle} <= {"head", "norm_head"}


@torch.no_grad()
def test_a_map_smaller_than_its_window_is_one_window() -> None:
    large, fitting = (
        WindowAttention(32, heads=2, window=14).eval(),
        WindowAttention(32, heads=2, window=8).eval(),
    )
    large.attention_biases.normal_()
    rows = torch.arange(8)[:, None] * 14 + torch.arange(8)  # |dy|, |dx| < 8 of the larger table
    fitting.load_state_dict(
        large.state_dict() | {"attention_biases": large.attention_biases[:, rows.flatten()]}
    )
    x = torch.randn(1, 8, 8, 32)
    torch.testing.assert_close(large(x), fitting(x))


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (12, 8), (4, 4)])
def test_windows_there_and_back(size: tuple[int, int]) -> None:
    x = torch.randn(2, *size, 3, 5)
    windows = to_windows(x, 4)
    if size[1] == 8:  # the window to the right of the first
        assert torch.equal(windows[1, 2, 3 * 4 + 1], x[0, 3, 5, 2])
    assert torch.equal(from_windows(windows, 4, *size), x.flatten(3))
