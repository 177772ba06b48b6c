"""Which mask a prompt teaches, and what the user would have been shown."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pocketsam.models.architectures import build
from pocketsam.models.layers import Normalise
from pocketsam.models.sam import Sam
from pocketsam.training.losses.functions import mask_loss
from pocketsam.training.losses.supervised import Supervised, round_losses


@pytest.fixture
def target() -> Tensor:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:6, 2:6] = 1
    return target


@pytest.fixture
def logits(target: Tensor) -> Tensor:
    """Mask 2 is right; the others are wrong, each in its own way."""
    right = 20 * target - 10
    wrong = [-right, -right + 1, right, -right + 2]
    return torch.stack(wrong, dim=2).requires_grad_()


IOU = torch.tensor([[[0.2, 0.9, 0.3, 0.1]]])


def test_a_single_click_teaches_mask_0_and_the_best_of_three(logits: Tensor, target: Tensor) -> None:
    losses, _ = round_losses(logits, IOU, target, torch.tensor([[True]]))
    each = mask_loss(logits[0, 0], target.expand(1, 4, 8, 8)[0])
    assert float(losses["mask_loss"]) == pytest.approx(float((each[0] + each[2]) / 2))
    losses["mask_loss"].backward()
    taught = logits.grad[0, 0].abs().sum((-2, -1)) > 0  # type: ignore[index]
    assert taught.tolist() == [True, False, True, False]
    true_iou = torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert float(losses["iou_loss"]) == pytest.approx(float(((IOU - true_iou) ** 2).mean()))


def test_a_single_click_is_shown_the_most_confident_mask(logits: Tensor, target: Tensor) -> None:
    losses, chosen = round_losses(logits, IOU, target, torch.tensor([[True]]))
    assert torch.equal(chosen[0, 0], logits[0, 0, 1])
    assert float(losses["iou"]) == 0.0


def test_a_clear_prompt_is_about_mask_0_alone(logits: Tensor, target: Tensor) -> None:
    losses, chosen = round_losses(logits, IOU, target, torch.tensor([[False]]))
    assert float(losses["mask_loss"]) == pytest.approx(float(mask_loss(logits[0, 0, 0], target[0, 0])))
    assert float(losses["iou_loss"]) == pytest.approx(0.2**2)
    assert torch.equal(chosen[0, 0], logits[0, 0, 0])


class Calls(list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]):
    """Points, labels, mask input and has_mask of each call of a model's `decode`, which goes on as before."""

    def __init__(self, sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
        decode = sam.decode

        def spy(embedding: Tensor, *prompts: Any) -> object:
            self.append(prompts)  # type: ignore[arg-type]
            return decode(embedding, *prompts)

        monkeypatch.setattr(sam, "decode", spy)


def supervised(sam: Sam, rounds: int, **options: float) -> Supervised:
    return Supervised(sam, Normalise((128.0,) * 3, (60.0,) * 3), rounds, [1], "focal", **options)  # type: ignore[arg-type]


def test_later_rounds_feed_the_logits_back(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = build("patches", 64)
    calls, batch = Calls(sam, monkeypatch), a_batch()
    loss = supervised(sam, 3)
    first, again = (float(loss(batch, step)["loss"].detach()) for step in (1, 1))
    other = float(loss(batch | {"seed": torch.tensor([1, 3])}, 1)["loss"].detach())
    assert first == again != other, "the prompts are a function of the samples' seeds"
    points, _, masks, _ = zip(*calls[:3], strict=True)
    assert [one.shape[2] for one in points] == [2, 3, 4]
    assert masks[0] is None
    assert all(mask.shape == (2, 3, 16, 16) and not mask.requires_grad for mask in masks[1:])


def test_corrections_without_mask_feedback_have_their_points_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = build("patches", 64)
    calls = Calls(sam, monkeypatch)
    for share, wanted in ((0.0, [0.0] * 6), (0.999999, [1.0] * 6)):
        calls.clear()
        supervised(sam, 2, mask_feedback=share)(a_batch(), 1)
        *_, (_, _, _, first), (_, _, _, correction) = calls
        assert first is None
        assert correction is not None and correction.flatten().tolist() == wanted


def test_a_lone_correction_comes_without_the_prompts_that_its_mask_stands_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sam = build("patches", 64)
    calls = Calls(sam, monkeypatch)

    def former_labels(mask_feedback: float, lone_corrections: float) -> set[int]:
        supervised(sam, 2, mask_feedback=mask_feedback, lone_corrections=lone_corrections)(a_batch(), 1)
        labels = calls[-1][1]
        assert (labels[..., -1] >= 0).all(), "the correction itself stays"
        return set(labels[..., :-1].flatten().tolist())

    assert former_labels(1.0, 1.0) == {-1}
    assert former_labels(1.0, 0.0) > {-1}
    assert former_labels(0.0, 1.0) > {-1}, "without its mask, a correction needs the former prompts"


def test_centre_corrections_move_only_the_corrections(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sam, batch = build("patches", 64), a_batch()
    calls = Calls(sam, monkeypatch)

    def clicked(centre_clicks: float, centre_corrections: float | None) -> tuple[list[float], list[float]]:
        options = {"centre_clicks": centre_clicks, "centre_corrections": centre_corrections}
        supervised(sam, 2, **options)(batch, 1)
        points = calls[-1][0]
        return points[..., :-1, :].flatten().tolist(), points[..., -1, :].flatten().tolist()

    first, correction = clicked(0.0, None)
    assert clicked(0.0, 0.0) == (first, correction), "by default, as `centre_clicks` says"
    same, moved = clicked(0.0, 1.0)
    assert same == first and moved != correction


def test_the_loss_of_clicks_is_added_by_its_weight() -> None:
    torch.manual_seed(0)
    sam, batch = build("patches", 64), a_batch()
    plain, weighted = (supervised(sam, 2, click_weight=weight)(batch, 1) for weight in (0.0, 3.0))
    assert "click_loss" not in plain and weighted["click_loss"] > 0
    torch.testing.assert_close(weighted["loss"], plain["loss"] + 3 * weighted["click_loss"])


def a_batch() -> dict[str, Tensor]:
    """Two images with three objects each."""
    return {
        "image": torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8),
        "masks": torch.full((2, 3, 16, 16), 255, dtype=torch.uint8),
        "boxes": torch.tensor([0.0, 0.0, 64.0, 64.0]).expand(2, 3, 4),
        "seed": torch.tensor([1, 2]),
    }
