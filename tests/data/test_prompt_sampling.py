import pytest
import torch

from pocketsam.data.prompt_sampling import CELL, click_in, correction, first_prompts, noisy
from pocketsam.models.prompt_encoder import BACKGROUND, BOX_END, BOX_START, FOREGROUND, PADDING

SIZE = 64


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def cell_of(points: torch.Tensor) -> torch.Tensor:
    return ((points + 0.5) / CELL).floor().long()


def test_clicks_fall_in_their_region_and_reach_all_of_it(generator: torch.Generator) -> None:
    region = torch.zeros(200, 16, 16, dtype=torch.bool)
    region[:, 3:5, 7:9] = True
    cells = cell_of(click_in(region, generator))
    assert set(map(tuple, cells.tolist())) == {(x, y) for x in (7, 8) for y in (3, 4)}


def test_noise_is_a_tenth_of_the_side_and_bounded(generator: torch.Generator) -> None:
    box = torch.tensor([20.0, 24.0, 44.0, 28.0]).expand(4000, 4)
    moved = noisy(box, 1024, generator) - box
    still = (moved == 0).all(-1)
    assert 0.45 < still.float().mean() < 0.55
    spread = moved[~still].std(0)
    torch.testing.assert_close(spread, torch.tensor([2.4, 0.4, 2.4, 0.4]), rtol=0.1, atol=0)
    wide = noisy(torch.tensor([0.0, 0.0, 1024.0, 1024.0]).expand(500, 4), 1024, generator)
    assert wide.min() >= 0 and wide.max() <= 1024
    assert (wide[:, 0]).max() <= 20


@pytest.mark.parametrize("clicks", [1, 2, 3])
def test_first_prompts_are_clicks_or_boxes(clicks: int, generator: torch.Generator) -> None:
    masks = torch.zeros(4, 8, 16, 16, dtype=torch.bool)
    masks[..., 4:9, 2:6] = True
    boxes = torch.tensor([8.0, 16.0, 24.0, 36.0]).expand(4, 8, 4)
    points, labels = first_prompts(masks, boxes, SIZE, clicks, generator)
    assert points.shape == (4, 8, clicks + 1, 2)
    kinds = {tuple(row) for row in labels.flatten(0, 1).tolist()}
    by_click = (*[FOREGROUND] * clicks, PADDING)
    by_box = (*[FOREGROUND] * (clicks - 1), BOX_START, BOX_END)
    assert kinds == {by_click, by_box}
    cells = cell_of(points[labels == FOREGROUND])
    assert ((cells >= torch.tensor([2, 4])) & (cells < torch.tensor([6, 9]))).all()


def test_corrections_are_positive_where_missed_and_negative_where_overrun(
    generator: torch.Generator,
) -> None:
    masks = torch.zeros(1, 3, 16, 16, dtype=torch.bool)
    masks[:, :, :8] = True
    predicted = masks.clone()
    predicted[0, 0, :4] = False  # missed
    predicted[0, 1, 12:] = True  # overrun
    points, labels = correction(predicted, masks, generator)
    assert points.shape == (1, 3, 1, 2)
    assert labels[0, :, 0].tolist() == [FOREGROUND, BACKGROUND, FOREGROUND]
    rows = cell_of(points)[0, :, 0, 1].tolist()
    assert rows[0] < 4 and rows[1] >= 12 and rows[2] < 8
