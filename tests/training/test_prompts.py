import pytest
import torch

from pocketsam.config import BACKGROUND, BOX_END, BOX_START, FOREGROUND, PADDING
from pocketsam.training.prompts import (
    MASK_STRIDE,
    SampleRNG,
    boxes_around,
    click_in,
    correction,
    first_prompts,
    noisy,
)

SIZE = 64


def cell_of(points: torch.Tensor) -> torch.Tensor:
    return ((points + 0.5) / MASK_STRIDE).floor().long()


def test_clicks_fall_in_their_region_and_reach_all_of_it() -> None:
    region = torch.zeros(200, 16, 16, dtype=torch.bool)
    region[:, 3:5, 7:9] = True
    cells = cell_of(click_in(region, SampleRNG(range(200))))
    assert set(map(tuple, cells.tolist())) == {(x, y) for x in (7, 8) for y in (3, 4)}


def test_noise_is_a_tenth_of_the_side_and_bounded() -> None:
    box = torch.tensor([20.0, 24.0, 44.0, 28.0]).expand(2, 2000, 4)
    moved = noisy(box, 1024, SampleRNG([1, 2])) - box
    still = (moved == 0).all(-1)
    assert 0.45 < still.float().mean() < 0.55
    spread = moved[~still].std(0)
    torch.testing.assert_close(spread, torch.tensor([2.4, 0.4, 2.4, 0.4]), rtol=0.1, atol=0)
    wide = noisy(torch.tensor([0.0, 0.0, 1024.0, 1024.0]).expand(1, 500, 4), 1024, SampleRNG([3]))
    assert wide.min() >= 0 and wide.max() <= 1024
    assert (wide[..., 0]).max() <= 20


@pytest.mark.parametrize("clicks", [1, 2, 3])
def test_first_prompts_are_clicks_or_boxes(clicks: int) -> None:
    masks = torch.zeros(4, 8, 16, 16, dtype=torch.bool)
    masks[..., 4:9, 2:6] = True
    boxes = torch.tensor([8.0, 16.0, 24.0, 36.0]).expand(4, 8, 4)
    points, labels = first_prompts(masks, boxes, SIZE, clicks, SampleRNG(range(4)))
    assert points.shape == (4, 8, clicks + 1, 2)
    kinds = {tuple(row) for row in labels.flatten(0, 1).tolist()}
    by_click = (*[FOREGROUND] * clicks, PADDING)
    by_box = (*[FOREGROUND] * (clicks - 1), BOX_START, BOX_END)
    assert kinds == {by_click, by_box}
    cells = cell_of(points[labels == FOREGROUND])
    assert ((cells >= torch.tensor([2, 4])) & (cells < torch.tensor([6, 9]))).all()


def test_boxes_around_masks() -> None:
    masks = torch.zeros(1, 3, 16, 16, dtype=torch.bool)
    masks[0, 0, 3:5, 7:9] = True
    masks[0, 1, 0, 15] = True
    assert boxes_around(masks).tolist() == [[[28, 12, 36, 20], [60, 0, 64, 4], [0, 0, 0, 0]]]


def test_corrections_are_positive_where_missed_and_negative_where_overrun() -> None:
    masks = torch.zeros(1, 3, 16, 16, dtype=torch.bool)
    masks[:, :, :8] = True
    predicted = masks.clone()
    predicted[0, 0, :4] = False  # missed
    predicted[0, 1, 12:] = True  # overrun
    points, labels = correction(predicted, masks, SampleRNG([0]))
    assert points.shape == (1, 3, 1, 2)
    assert labels[0, :, 0].tolist() == [FOREGROUND, BACKGROUND, FOREGROUND]
    rows = cell_of(points)[0, :, 0, 1].tolist()
    assert rows[0] < 4 and rows[1] >= 12 and rows[2] < 8


def test_the_prompts_of_a_sample_do_not_depend_on_its_batch() -> None:
    masks = torch.rand(4, 8, 16, 16) < 0.3
    boxes = torch.tensor([8.0, 16.0, 24.0, 36.0]).expand(4, 8, 4)
    whole = first_prompts(masks, boxes, SIZE, 2, SampleRNG([5, 6, 7, 8]))
    half = first_prompts(masks[2:], boxes[2:], SIZE, 2, SampleRNG([7, 8]))
    assert all(torch.equal(a[2:], b) for a, b in zip(whole, half, strict=True))


def test_centre_clicks_keep_away_from_the_border() -> None:
    region = torch.zeros(400, 16, 16, dtype=torch.bool)
    region[:, 2:15, 3:14] = True
    rng = SampleRNG(range(400))
    found = {centre: cell_of(click_in(region, rng, centre)) for centre in (0.0, 0.5, 1.0)}
    margin = {}
    for centre, cells in found.items():
        x, y = cells.unbind(-1)
        assert region[torch.arange(400), y, x].all()
        margin[centre] = torch.stack([x - 2, 14 - x, y - 1, 15 - y]).amin(0).float().mean()
    # The expected distance from the border of 13 × 11 cells: uniformly, and as likely as it is far.
    y, x = torch.meshgrid(torch.arange(13), torch.arange(11), indexing="ij")
    distance = torch.stack([x + 1, 11 - x, y + 1, 13 - y]).amin(0).float()
    expected = {0.0: distance.mean(), 1.0: (distance**2).sum() / distance.sum()}
    expected[0.5] = (expected[0.0] + expected[1.0]) / 2
    assert expected[1.0] > expected[0.0] + 0.7
    for centre, mean in expected.items():
        assert abs(margin[centre] - mean) < 0.3, centre


def test_no_centre_clicks_draw_the_numbers_that_they_always_did() -> None:
    region = torch.rand(2, 3, 16, 16) < 0.3
    plain, zero = SampleRNG([1, 2]), SampleRNG([1, 2])
    assert torch.equal(click_in(region, plain), click_in(region, zero, 0.0))
    assert torch.equal(plain.uniform(3), zero.uniform(3))
