"""Semantic segmentation: what is learned, what is matched, and what the figures say."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from pocketsam.data.categories import IGNORED, CategorySet
from pocketsam.errors import DataError
from pocketsam.evaluation.job import Run, evaluate
from pocketsam.evaluation.protocols.semantic import Semantic as Protocol
from pocketsam.evaluation.protocols.semantic import class_ious, confusion
from pocketsam.models.heads.mask_transformer import Regions, outside, sine_positions
from pocketsam.training.loop import train
from pocketsam.training.losses.semantic import pairwise_losses, region_losses, regions_of
from pocketsam.training.matching import cheapest_pairs
from pocketsam.training.samples.augment import Augmentation
from pocketsam.training.samples.categories import Framing, SemanticSamples
from transfer import coco_set, recipe

SMALL = {"channels": 64, "queries": 6, "layers": 3}


def test_a_tiny_set_is_learned_and_measured_again_from_the_file(tmp_path: Path) -> None:
    data = coco_set(tmp_path)
    learning = {"steps": 110, "learning_rate": 2e-3, "clip": 5.0, "warmup": 5}
    asked = recipe(tmp_path, "semantic", train=[str(data)], val=[str(data)], **learning, **SMALL)
    file = train(asked)
    log = [json.loads(line) for line in (asked.folder / "log.jsonl").read_text().splitlines()]
    scores = {name: log[-1][f"val/{name}"] for name in ("mIoU", "pixel accuracy")}
    assert scores["mIoU"] >= 0.9
    run = Run(model=str(file), output=tmp_path / "result", workers=0, worst=4)
    numbers = evaluate(Protocol, {}, run, [data]).report.numbers
    assert {name: numbers[name] for name in scores} == scores
    assert set(numbers["IoU"]) == {"background", "blue", "green", "red"}
    assert np.sum(numbers["confusion"]["pixels"]) == 6 * 64 * 64
    assert (tmp_path / "result" / "worst.jpg").exists()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_pairs_are_the_cheapest_of_all(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    a, b = cheapest_pairs(torch.from_numpy(cost))
    fewer = min(rows, columns)
    assert len(a) == len(set(a.tolist())) == len(set(b.tolist())) == fewer
    wide = cost if rows <= columns else cost.T
    least = min(
        sum(wide[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(wide.shape[1]), fewer)
    )
    assert float(cost[a, b].sum()) == pytest.approx(float(least), abs=1e-4)


def test_costs_that_are_no_numbers_are_the_last_choice() -> None:
    rows, columns = cheapest_pairs(torch.tensor([[float("nan"), 1.0], [5.0, float("inf")]]))
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_the_regions_of_a_map() -> None:
    classes = torch.full((8, 8), IGNORED, dtype=torch.uint8)
    classes[:4, :4], classes[4:, :2] = 3, 1
    present, masks, labelled = regions_of(classes)
    assert present.tolist() == [1, 3]
    torch.testing.assert_close(masks, torch.tensor([[[0.0, 0], [0.5, 0]], [[1.0, 0], [0, 0]]]))
    torch.testing.assert_close(labelled, torch.tensor([[1.0, 0], [0.5, 0]]))


def test_costs_of_pairs_are_the_losses_of_pairs() -> None:
    torch.manual_seed(0)
    predicted, true, weight = torch.randn(3, 20), torch.rand(2, 20), torch.ones(20)
    weight[15:] = 0
    true[:, 15:] = 0
    crossed, dices = pairwise_losses(predicted, true, weight)
    for n, t in itertools.product(range(3), range(2)):
        x, y = predicted[n, :15], true[t, :15]
        torch.testing.assert_close(crossed[n, t], F.binary_cross_entropy_with_logits(x, y))
        p = x.sigmoid()
        torch.testing.assert_close(dices[n, t], 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))


def test_each_region_is_learned_by_the_query_that_has_it() -> None:
    """Queries 2 and 0 have found the two regions, query 1 nothing: the losses are as low as they get."""
    masks = torch.zeros(2, 4, 4)
    masks[0, :2], masks[1, 2:] = 1, 1
    found = torch.full((3, 4, 4), -20.0)
    found[2][masks[0] > 0], found[0][masks[1] > 0] = 20, 20
    logits = torch.full((3, 4), -20.0)
    logits[2, 1], logits[0, 2], logits[1, 3] = 20, 20, 20
    right = region_losses(Regions(logits, found), torch.tensor([1, 2]), masks, torch.ones(4, 4))
    assert float(right.max()) < 1e-3
    wrong = region_losses(Regions(logits.roll(1, 0), found), torch.tensor([1, 2]), masks, torch.ones(4, 4))
    assert float(wrong[0]) > 1
    nothing = region_losses(
        Regions(logits, found), torch.tensor([], dtype=torch.long), masks[:0], torch.ones(4, 4)
    )
    assert nothing[1:].tolist() == [0, 0]


def test_a_query_attends_inside_its_mask_or_everywhere() -> None:
    masks = torch.full((1, 2, 8, 8), -5.0)
    masks[0, 0, :4, :4] = 5
    hidden = outside(masks, (2, 2))
    assert hidden[0].tolist() == [[False, True, True, True], [False] * 4]


def test_positions_of_cells_differ() -> None:
    positions = sine_positions(4, 6, 32)
    assert positions.shape == (24, 32)
    assert (torch.cdist(positions, positions) + torch.eye(24)).min() > 0.1


def test_the_confusion_matrix_counts_labelled_pixels() -> None:
    truth = np.array([[0, 0, 1], [1, IGNORED, 2]], np.uint8)
    found = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)
    matrix = confusion(truth, found, 4)
    assert matrix[:3, :3].tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert class_ious(matrix) == [1 / 3, 2 / 3, 0.0, None]
    assert class_ious(confusion(truth, truth, 3)) == [1, 1, 1]


def test_an_unaugmented_sample_is_the_photo(tmp_path: Path) -> None:
    data = CategorySet([coco_set(tmp_path)], background=True)
    how = Augmentation(whole=1, flip=0, colour=0, paste=0)
    samples = SemanticSamples(data, 0, Framing(64, "squash", how))
    for number in range(6):
        item, sample = samples[number], data.read(samples.photo_of(number))
        assert np.array_equal(item["image"].numpy(), sample.image.transpose(2, 0, 1))
        for mask, category in zip(sample.masks(), sample.categories, strict=True):
            assert (item["classes"].numpy()[mask] == category).all()
        assert (item["classes"].numpy()[~sample.masks().any(0)] == 0).all()


def test_an_image_without_a_label_teaches_that_there_is_nothing() -> None:
    present, masks, labelled = regions_of(torch.full((8, 8), IGNORED, dtype=torch.uint8))
    assert present.shape == (0,) and masks.shape == (0, 2, 2) and not labelled.any()
    found = Regions(torch.zeros(3, 4), torch.zeros(3, 2, 2))
    losses = region_losses(found, present, masks, labelled)
    assert losses[0] > 0 and losses[1:].tolist() == [0, 0]


def test_data_without_classes_are_refused(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [],
        "categories": [],
    }
    (tmp_path / "empty.json").write_text(json.dumps(document))
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="have no classes"):
        SemanticSamples(CategorySet([tmp_path / "empty.json"]), 0, Framing(64, "squash", Augmentation()))
