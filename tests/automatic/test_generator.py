"""Everything mode finds what the published algorithm finds: it is transcribed here, step by step and slowly."""

import math
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from naive import naive_nms
from pocketsam.automatic.filters import stability_score
from pocketsam.automatic.generator import segment_everything
from pocketsam.automatic.options import Options
from pocketsam.automatic.proposals import Proposals
from pocketsam.automatic.schedule import point_grid
from pocketsam.config import ModelConfig
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.predict.regions import clean_logits
from predictors import OneStep


class ColourEngine(OneStep):
    """What is about as bright as the clicked pixel, within three tolerances, instead of a model.

    Each pixel of the 32 × 32 logits is a cell of the photo, so masks have holes and islands. Its confidence depends
    on the click, so that duplicates differ in it.
    """

    tolerances = (60, 60, 20, 5)

    def __init__(self, **config: Any) -> None:
        plain = {"resize": "pad", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)} | config
        self.config = ModelConfig("colours", image_size=128, **plain)
        self.batches: list[int] = []
        self.labels: list[list[int]] = []

    def encode(self, image: np.ndarray) -> np.ndarray:
        return image[:, :1, 2::4, 2::4]

    def decode(self, embedding, points, labels, mask_input, has_mask):
        assert mask_input.shape == (len(points), 1, 32, 32)
        assert not has_mask.any()
        self.batches.append(len(points))
        self.labels.append(labels[0].tolist())
        grey = embedding[0, 0]
        x, y = (points[:, 0] / 4).astype(int).clip(0, 31).T
        distance = abs(grey - grey[y, x][:, None, None])
        # Not on the quarters: no pixel lies on a threshold, where rounding would decide.
        logits = (np.array(self.tolerances)[:, None, None] - distance[:, None]) / 4 + 0.0137
        confidence = 0.8 + 0.19 * np.sin(x * 7 + y * 3)[:, None] * np.array((1, 0.3, 0.6, 0.9))
        return logits.astype(np.float32), confidence.astype(np.float32)


def photo() -> np.ndarray:
    """(100, 160, 3): bright and dark things on a slope of grey, one with a hole and one with a crumb beside it."""
    y, x = np.mgrid[0:100, 0:160]
    grey = 60 + x / 4
    grey[8:30, 10:40] = 160
    grey[15:21, 20:26] = 60
    grey[40:70, 60:100] = 200
    grey[45:50, 108:112] = 200
    grey[(y - 75) ** 2 + (x - 130) ** 2 < 200] = 250
    grey[80:95, 15:50] = 5
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def as_published(engine: ColourEngine, image: np.ndarray, options: Options) -> list[dict[str, Any]]:
    """The published generator, transcribed: every mask is kept whole, every comparison is a loop."""
    height, width = image.shape[:2]
    records: list[dict[str, Any]] = []
    layers = list(published_crops(height, width, options.crop_n_layers, options.crop_overlap_ratio))
    for layer, (x0, y0, x1, y1) in layers:
        part = image[y0:y1, x0:x1]
        geometry = Geometry.of(engine.config, *part.shape[:2])
        embedding = engine.encode(preprocess(part, engine.config))
        side = int((options.points_per_side or 0) / options.crop_n_points_downscale_factor**layer)
        of_crop = []
        for row in range(side):
            for column in range(side):
                x, y = (column + 0.5) / side * (x1 - x0), (row + 0.5) / side * (y1 - y0)
                token = np.array([[*geometry.to_model((x, y)), 0, 0]], np.float32).reshape(1, 2, 2)
                nothing = np.zeros((1, 1, 32, 32), np.float32), np.zeros(1, np.float32)
                labels = np.array([[1, -1]], np.int32)
                logits, iou = engine.decode(embedding, token, labels, *nothing)
                for reading in (1, 2, 3):
                    full = geometry.logits_to_photo(logits[0, reading])
                    above = (full > options.stability_score_offset).sum()
                    stability = above / max(1, (full > -options.stability_score_offset).sum())
                    whole = np.zeros((height, width), bool)
                    whole[y0:y1, x0:x1] = full > 0
                    ys, xs = np.nonzero(full > 0)
                    box = [xs.min(), ys.min(), xs.max(), ys.max()] if len(xs) else [0, 0, 0, 0]
                    box = [box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0]
                    if options.pred_iou_thresh > 0 and not iou[0, reading] > options.pred_iou_thresh:
                        continue
                    if options.stability_score_thresh > 0 and stability < options.stability_score_thresh:
                        continue
                    edges = zip(box, (x0, y0, x1, y1), (0, 0, width, height), strict=True)
                    if any(abs(b - c) <= 20 and not abs(b - p) <= 20 for b, c, p in edges):
                        continue
                    of_crop.append(
                        {
                            "mask": whole,
                            "box": box,
                            "score": float(iou[0, reading]),
                            "stability": stability,
                            "point": (x + x0, y + y0),
                            "crop": (x0, y0, x1, y1),
                        }
                    )
        records += published_nms(of_crop, [r["score"] for r in of_crop], options.box_nms_thresh)
    if len(layers) > 1:
        sizes = [(r["crop"][2] - r["crop"][0]) * (r["crop"][3] - r["crop"][1]) for r in records]
        records = published_nms(records, [1 / size for size in sizes], options.crop_nms_thresh)
    if options.min_mask_region_area:
        for record in records:
            holes_filled = record["mask"].copy()
            holes = published_regions(~record["mask"])
            small = [region for region in holes if len(region) < options.min_mask_region_area]
            for region in small:
                holes_filled[tuple(zip(*region, strict=True))] = True
            cleaned = np.zeros_like(holes_filled)
            islands = published_regions(holes_filled)
            large = [region for region in islands if len(region) >= options.min_mask_region_area]
            for region in large or [max(islands, key=len)]:
                cleaned[tuple(zip(*region, strict=True))] = True
            # A mask of one small island counts as changed, though nothing of it is removed.
            record["unchanged"] = not small and len(large) == len(islands)
            ys, xs = np.nonzero(cleaned)
            record |= {"mask": cleaned, "box": [xs.min(), ys.min(), xs.max(), ys.max()]}
        threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
        records = published_nms(records, [float(r["unchanged"]) for r in records], threshold)
    return records


def published_crops(height, width, layers, ratio):
    yield 0, (0, 0, width, height)
    for layer in range(1, layers + 1):
        n = 2**layer
        overlap = int(ratio * min(height, width) * (2 / n))
        w, h = (math.ceil((overlap * (n - 1) + length) / n) for length in (width, height))
        for x0 in [(w - overlap) * i for i in range(n)]:
            for y0 in [(h - overlap) * i for i in range(n)]:
                yield layer, (x0, y0, min(x0 + w, width), min(y0 + h, height))


def published_nms(
    records: list[dict[str, Any]], scores: list[float], threshold: float
) -> list[dict[str, Any]]:
    return [records[i] for i in naive_nms([r["box"] for r in records], scores, threshold)]


def published_regions(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """The pixels of every region that is connected by sides or corners, found by walking."""
    waiting, regions = set(zip(*map(list, np.nonzero(mask)), strict=True)), []
    while waiting:
        region = [waiting.pop()]
        for y, x in region:
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & waiting
            region += around
            waiting -= around
        regions.append(region)
    return regions


LOOSE: dict[str, Any] = {"pred_iou_thresh": 0.75, "stability_score_thresh": 0.8, "hierarchical": False}


@pytest.mark.parametrize(
    "options",
    [
        Options(points_per_side=9, **LOOSE),
        Options(points_per_side=9, pred_iou_thresh=0, stability_score_thresh=0, hierarchical=False),
        Options(points_per_side=9, box_nms_thresh=0.3, stability_score_offset=2.5, **LOOSE),
        Options(points_per_side=6, crop_n_layers=1, **LOOSE),
        Options(points_per_side=8, crop_n_layers=2, crop_n_points_downscale_factor=2, **LOOSE),
        Options(points_per_side=6, crop_n_layers=1, crop_overlap_ratio=0.6, crop_nms_thresh=0.4, **LOOSE),
        Options(points_per_side=9, min_mask_region_area=60, **LOOSE),
        Options(
            points_per_side=9, min_mask_region_area=900, box_nms_thresh=0.3, crop_nms_thresh=0.9, **LOOSE
        ),
    ],
    ids=[
        "grid",
        "no thresholds",
        "other thresholds",
        "crops",
        "two layers",
        "overlap",
        "regions",
        "large regions",
    ],
)
def test_the_masks_are_those_of_the_published_algorithm(options):
    engine, image = ColourEngine(), photo()
    found, expected = segment_everything(engine, image, options), as_published(engine, image, options)
    assert len(found) == len(expected) >= 3
    for i, record in enumerate(expected):
        np.testing.assert_array_equal(coco.decode(found.rle[i]), record["mask"])
        assert found.boxes[i].tolist() == record["box"]
        assert found.areas[i] == record["mask"].sum()
        assert found.points[i] == pytest.approx(record["point"])
        assert found.crop_boxes[i].tolist() == list(record["crop"])
    np.testing.assert_allclose(found.predicted_iou, [record["score"] for record in expected])
    np.testing.assert_allclose(found.stability, [record["stability"] for record in expected], rtol=1e-6)


def test_every_option_changes_what_is_found():
    engine, image = ColourEngine(), photo()
    usual = Options(points_per_side=9, crop_n_layers=1, **LOOSE)
    changes: list[dict[str, Any]] = [
        {"points_per_side": 5},
        {"pred_iou_thresh": 0.9},
        {"stability_score_thresh": 0.9},
        {"stability_score_offset": 2.0},
        {"box_nms_thresh": 0.2},
        {"crop_nms_thresh": 0.2},
        {"crop_n_layers": 0},
        {"crop_overlap_ratio": 0.7},
        {"crop_n_points_downscale_factor": 3},
        {"min_mask_region_area": 60},
        {"points_per_side": None, "point_grids": [point_grid(5)] * 2},
    ]
    before = segment_everything(engine, image, usual)
    for change in changes:
        after = segment_everything(engine, image, Options(**vars(usual) | change))
        assert after.rle != before.rle, change


class Counting(ColourEngine):
    """Counts what it is asked, and what it draws."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.asked: list[tuple[float, float]] = []
        self.drawn = 0

    def predict_iou(self, prepared, points, labels):
        self.asked += [(float(x), float(y)) for x, y in points[:, 0]]
        return super().predict_iou(prepared, points, labels)

    def decode_masks(self, prediction, objects):
        self.drawn += len(objects)
        return super().decode_masks(prediction, objects)


HIERARCHY: dict[str, Any] = LOOSE | {"hierarchical": True}
GEOMETRY = Geometry.of(ColourEngine().config, 100, 160)


@pytest.mark.parametrize("side", [4, 8, 9])
@pytest.mark.parametrize("above", [0.0, 4.0, 1e9])
@pytest.mark.parametrize("stable", [0.8, 0.93, 0.97])
def test_the_hierarchy_asks_what_its_rules_say(side, above, stable):
    engine = Counting()
    options = HIERARCHY | {"stability_score_thresh": stable, "pred_iou_thresh": 0.85}
    segment_everything(engine, photo(), Options(side, confident_logit=above, **options))
    expected = rule_by_rule(photo(), side, above, stable)
    scale = 128 / 160  # the photo is 160 pixels wide, the model's square 128
    points = [((x + 0.5) / side * 160 * scale, (y + 0.5) / side * 100 * scale) for y, x in expected]
    np.testing.assert_allclose(engine.asked, points, rtol=1e-6)
    assert side == 4 or len(points) < side**2


def rule_by_rule(image: np.ndarray, side: int, above: float, stable: float) -> list[tuple[int, int]]:
    """The rows and columns of the points that are asked, in order, one rule after the other."""
    covered = np.zeros((32, 32), bool)
    asked: list[tuple[int, int]] = []
    promising: set[tuple[int, int]] = set()
    scale = 128 / 160

    def is_covered(y: int, x: int) -> bool:
        return bool(covered[int((y + 0.5) / side * 100 * scale / 4), int((x + 0.5) / side * 160 * scale / 4)])

    for stride in (4, 2, 1):
        grid = [(y, x) for y in range(side) for x in range(side)]
        wanted = [(y, x) for y, x in grid if (y % stride, x % stride) == (1 % stride, 1 % stride)]
        wanted = [point for point in wanted if point not in asked and not is_covered(*point)]
        if stride == 1:
            known = promising | {point for point in grid if is_covered(*point)}
            wanted = [
                (y, x)
                for y, x in wanted
                if any((y + dy, x + dx) in known for dy in (-1, 0, 1) for dx in (-1, 0, 1))
            ]
        for y, x in wanted:
            for logits in confident_readings(image, ((x + 0.5) / side * 160, (y + 0.5) / side * 100)):
                if stability_score(logits[:20], 1.0) >= stable - 0.1 or (logits[:20] > -1).sum() < 100:
                    promising.add((y, x))
                if stability_score(GEOMETRY.logits_to_photo(logits), 1.0) >= stable:
                    covered |= logits > above
        asked += wanted
    return asked


def confident_readings(image: np.ndarray, point: tuple[float, float]) -> list[np.ndarray]:
    """The logits (32, 32) of a click's readings that are confident enough; the photo is in the upper 20 rows."""
    engine = ColourEngine()
    embedding = engine.encode(preprocess(image, engine.config))
    clicked = np.array([[GEOMETRY.to_model(point)]], np.float32)
    nothing = np.zeros((1, 1, 32, 32), np.float32), np.zeros(1, np.float32)
    logits, iou = engine.decode(embedding, clicked[0][None], np.ones((1, 1), np.int32), *nothing)
    return [logits[0, reading] for reading in (1, 2, 3) if iou[0, reading] > 0.85]


def test_where_every_second_point_finds_nothing_no_other_is_asked():
    engine = Counting()
    found = segment_everything(engine, photo(), Options(8, 64, 1.0, hierarchical=True))
    assert len(found) == 0
    assert len(engine.asked) == 16


def test_where_the_coarse_grid_covers_all_the_others_have_nothing_to_ask():
    engine = Counting()
    one_colour = np.full((40, 40, 3), 77, np.uint8)
    found = segment_everything(
        engine, one_colour, Options(4, pred_iou_thresh=0, confident_logit=0.0, hierarchical=True)
    )
    assert len(engine.asked) == 1
    assert len(found) == 1


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_grid_too_small_for_a_coarser_one_is_asked_whole(side):
    engine = Counting()
    segment_everything(engine, photo(), Options(side, **HIERARCHY))
    assert len(engine.asked) == side**2


def test_a_grid_of_ones_own_is_asked_whole():
    engine = Counting()
    grid = [point_grid(8)[:50]]
    segment_everything(engine, photo(), Options(None, point_grids=grid, **HIERARCHY))
    assert len(engine.asked) == 50


def test_progress_goes_from_0_to_1_and_can_end_the_work():
    reports = []
    crops = Options(8, 16, 0.9, crop_n_layers=1, hierarchical=True)
    segment_everything(Counting(), photo(), crops, report=reports.append)
    assert reports == sorted(reports)
    assert 0 < reports[0] < 0.2
    assert reports[-1] == 1

    def stop(fraction):
        raise KeyboardInterrupt

    engine = Counting()
    with pytest.raises(KeyboardInterrupt):
        segment_everything(engine, photo(), crops, report=stop)
    assert len(engine.asked) <= 16


def test_only_masks_that_the_model_believes_in_are_drawn():
    engine = Counting()
    segment_everything(engine, photo(), Options(9, 64, 0.97, hierarchical=False))
    assert 0 < engine.drawn < len(engine.asked) == 81
    nobody = Counting()
    assert len(segment_everything(nobody, photo(), Options(9, 64, 1.0, hierarchical=False))) == 0
    assert nobody.drawn == 0


def test_many_points_and_a_panorama():
    engine = Counting()
    panorama = np.zeros((30, 2000, 3), np.uint8)
    panorama[:, 900:1100] = 200
    found = segment_everything(engine, panorama, Options(128, 500, 0.9, hierarchical=False))
    assert len(engine.asked) == 128**2
    assert found.rle[0]["size"] == [30, 2000]


def test_thresholds_that_are_not_given_are_the_models_own():
    strict = ColourEngine(pred_iou_thresh=0.95, stability_score_thresh=0.9, confident_logit=3.0)
    own = segment_everything(strict, photo(), Options(9))
    given = segment_everything(
        ColourEngine(),
        photo(),
        Options(9, pred_iou_thresh=0.95, stability_score_thresh=0.9, confident_logit=3.0),
    )
    assert own.rle == given.rle
    assert own.rle != segment_everything(strict, photo(), Options(9, pred_iou_thresh=0.0)).rle


def test_batches_bound_the_memory_and_change_nothing():
    results = []
    for size in (7, 64):
        engine = ColourEngine()
        options = Options(points_per_side=9, points_per_batch=size, **LOOSE)
        results.append(segment_everything(engine, photo(), options))
        assert max(engine.batches) == size
        assert sum(engine.batches) == 81
    assert results[0].rle == results[1].rle


def test_clicks_are_padded_as_the_model_wants_them():
    sam, efficient_sam = ColourEngine(), ColourEngine(resize="squash", pad_points_to=6)
    for engine in (sam, efficient_sam):
        segment_everything(engine, photo(), Options(points_per_side=1))
    assert sam.labels == [[1, -1]]
    assert efficient_sam.labels == [[1, -1, -1, -1, -1, -1]]


def test_a_model_may_have_more_readings_of_a_click():
    options = Options(4, 64, 0, 0, box_nms_thresh=1.0, hierarchical=False)
    three = segment_everything(ColourEngine(), photo(), options)
    four = segment_everything(ColourEngine(click_masks=(0, 1, 2, 3)), photo(), options)
    assert (len(three), len(four)) == (3 * 16, 4 * 16)


def test_a_grid_may_reach_the_edge_of_the_photo():
    options = Options(
        None, point_grids=[np.array([[0, 0], [1, 1]])], pred_iou_thresh=0, stability_score_thresh=0
    )
    found = segment_everything(ColourEngine(), photo(), options)
    assert {tuple(point) for point in found.points} == {(0, 0), (160, 100)}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (300, 2), (40, 40)])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_photo_of_one_colour_is_one_mask_a_crop_however_small_it_is(size, layers):
    options = Options(2, crop_n_layers=layers, pred_iou_thresh=0)
    found = segment_everything(ColourEngine(), np.full((*size, 3), 77, np.uint8), options)
    assert len(found) >= 1
    for rle, (x0, y0, x1, y1) in zip(found.rle, found.crop_boxes, strict=True):
        mask = coco.decode(rle)
        assert mask.shape == size
        assert mask[y0:y1, x0:x1].all()
        assert mask.sum() == (x1 - x0) * (y1 - y0)


def test_a_threshold_of_0_lets_every_confidence_pass():
    class Doubtful(ColourEngine):
        def decode(self, *prompts):
            logits, confidence = super().decode(*prompts)
            return logits, confidence - 2

    for threshold, found in {0.0: True, 0.01: False}.items():
        options = Options(3, pred_iou_thresh=threshold, stability_score_thresh=0)
        assert bool(len(segment_everything(Doubtful(), photo(), options))) is found


def test_nothing_found_is_an_answer():
    options = Options(points_per_side=3, pred_iou_thresh=1.0, crop_n_layers=1, min_mask_region_area=10)
    found = segment_everything(ColourEngine(), photo(), options)
    assert len(found) == 0
    assert found.rle == []
    assert found.boxes.shape == found.crop_boxes.shape == (0, 4)
    assert found.points.shape == (0, 2)
    assert found.areas.shape == found.predicted_iou.shape == found.stability.shape == (0,)


def test_proposals_are_selected_like_an_array():
    found = segment_everything(ColourEngine(), photo(), Options(points_per_side=9, **LOOSE))
    picked = found[np.array([2, 0])]
    assert isinstance(picked, Proposals)
    assert picked.rle == [found.rle[2], found.rle[0]]
    assert picked.areas.tolist() == found.areas[[2, 0]].tolist()


def test_small_regions_that_a_model_removes_are_of_cells_whatever_the_photos_size():
    small, options = photo(), Options(9, **LOOSE)
    untouched = segment_everything(ColourEngine(), small, options)

    class Cleaned(ColourEngine):
        """Decodes what is left of each mask when its small regions are removed from the cells."""

        def decode_masks(self, prediction, which=None):
            logits = super().decode_masks(prediction, which)
            flat = [clean_logits(one, 3) for one in logits.reshape(-1, *logits.shape[2:])]
            return np.array(flat, np.float32).reshape(logits.shape)

    own = segment_everything(ColourEngine(min_mask_region_cells=3), small, options)
    expected = segment_everything(Cleaned(), small, options)
    assert own.rle == expected.rle != untouched.rle
    assert own.boxes.tolist() == expected.boxes.tolist() and own.areas.tolist() == expected.areas.tolist()
    kept = Options(9, min_mask_region_area=0, **LOOSE)
    assert segment_everything(ColourEngine(min_mask_region_cells=3), small, kept).rle == untouched.rle
