"""The page computes by itself what Python computes, on vectors that Python writes: photos, prompts, masks."""

import base64
import json
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pocketsam.automatic.generator import segment_everything
from pocketsam.automatic.options import Options
from pocketsam.automatic.schedule import Schedule, point_grid
from pocketsam.config import ModelConfig
from pocketsam.export.web import PAGE
from pocketsam.predict.candidates import choose
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.predict.prompts import Prompts
from pocketsam.predict.regions import clean_logits
from pocketsam.utils.boxes import nms
from pocketsam.utils.rle import areas, boxes, decode, encode
from predictors import OneStep

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")

SQUASH = ModelConfig("squash", image_size=64, resize="squash", click_masks=(0, 1, 2, 3))
PAD = ModelConfig("pad", image_size=64)
PLAIN = ModelConfig(
    "plain", image_size=64, resize="squash", resampling="plain", prompt_masks=(1, 2, 3), pad_points_to=6
)
CONFIGS = (SQUASH, PAD, PLAIN)
SIZES = ((48, 80), (150, 97), (90, 44), (64, 64), (5, 210))
"""Of photos, (H, W)."""
COUNT = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs cases, each {"call": a function of vectors.mjs, its arguments}."""
    scripts = tmp_path_factory.mktemp("scripts")
    shutil.copytree(PAGE, scripts, dirs_exist_ok=True)
    (scripts / "package.json").write_text('{"type": "module"}')  # so that Node takes them for what they are

    def run(cases):
        program = [NODE, Path(__file__).with_name("vectors.mjs"), scripts]
        done = subprocess.run(program, input=json.dumps(cases).encode(), capture_output=True, check=True)
        return [_unpack(result) for result in json.loads(done.stdout)]

    return run


def _pack(array):
    kind = {"float32": "f32", "uint8": "u8", "int32": "i32"}[array.dtype.name]
    return {kind: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}


def _unpack(value):
    if isinstance(value, dict) and "f32" in value:
        return np.frombuffer(base64.b64decode(value["f32"]), np.float32)
    return value


def case(call, config, size, **given):
    height, width = size
    return {"call": call, "config": asdict(config), "width": width, "height": height, **given}


def photo(size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, 3), np.uint8)


def blobs(rng, count, side=16):
    """Logits (count, side, side) with smooth shapes in them."""
    noise = rng.normal(size=(count, side, side)).astype(np.float32)
    return np.stack([8 * cv2.GaussianBlur(one, (0, 0), 2) for one in noise])


def discs(rng, points, count, side=16):
    """Logits (K, count, side, side) of discs of several sizes around K points, with frayed edges."""
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) + 0.5
    distance = np.hypot(*np.moveaxis(cells - points[:, None, None] / 4, -1, 0))
    radius = rng.uniform(1, 5, (len(points), count, 1, 1))
    noise = blobs(rng, len(points) * count, side).reshape(len(points), count, side, side)
    return (3 * (radius - distance[:, None]) + noise / 2).astype(np.float32)


def speckled(rng, size):
    """A mask with holes and islands of all sizes, at the edges too."""
    coarse = cv2.resize(rng.normal(size=(9, 9)), size[::-1], interpolation=cv2.INTER_CUBIC)
    return (coarse > 0.2) ^ (rng.random(size) < 0.02)


SETTINGS = [(config, size) for config in CONFIGS for size in SIZES]


def test_photos_are_resized_and_normalised_alike(run):
    found = run([case("preprocess", config, size, photo=_pack(photo(size))) for config, size in SETTINGS])
    for (config, size), tensor in zip(SETTINGS, found, strict=True):
        np.testing.assert_allclose(tensor, in_two_steps(photo(size), config).ravel(), atol=1e-3)
        grey_level = 1 / min(config.std)
        np.testing.assert_allclose(tensor, preprocess(photo(size), config).ravel(), atol=grey_level + 1e-3)


def in_two_steps(image, config):
    """The photo preprocessed in the page's order of steps; which of them comes first depends on Pillow's version."""
    before, (height, width) = image.shape[:2], Geometry.of(config, *image.shape[:2]).resized
    if config.resampling == "plain":
        return preprocess(image, config)
    height_first = height < before[0] and width >= before[1]
    between = (before[1], height) if height_first else (width, before[0])
    step = Image.fromarray(image).resize(between, Image.Resampling.BILINEAR)
    both = np.asarray(step.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    tensor = np.zeros((1, 3, config.image_size, config.image_size), np.float32)
    normalised = (both - np.float32(config.mean)) / np.float32(config.std)
    tensor[0, :, :height, :width] = normalised.transpose(2, 0, 1)
    return tensor


def test_masks_are_enlarged_and_thresholded_alike(run):
    rng = np.random.default_rng(1)
    given = [(config, size, logits) for config, size in SETTINGS for logits in blobs(rng, COUNT)]
    packed = [(config, size, {"logits": _pack(logits)}) for config, size, logits in given]
    enlarged = run([case("upsample", config, size, **logits) for config, size, logits in packed])
    masks = run([case("binarise", config, size, **logits) for config, size, logits in packed])
    for (config, size, logits), values, mask in zip(given, enlarged, masks, strict=True):
        expected = Geometry.of(config, *size).logits_to_photo(logits)
        np.testing.assert_allclose(values.reshape(size), expected, atol=1e-3)
        np.testing.assert_array_equal(
            decode(mask["rle"])[abs(expected) > 1e-3], (expected > 0)[abs(expected) > 1e-3]
        )
        assert mask["area"] == areas([mask["rle"]])[0]
        np.testing.assert_array_equal(mask["bounds"], boxes([mask["rle"]])[0])


def test_boxes_limit_their_masks_alike(run):
    rng = np.random.default_rng(0)
    given = []
    for config, size in SETTINGS:
        height, width = size
        for margin in (None, 0.0, 0.02, 0.3):
            corners = np.sort(rng.uniform(-5, [[width + 5, height + 5]], (2, 2)), axis=0).clip(
                0, (width, height)
            )
            large = corners.ravel().tolist() if (corners[1] > corners[0]).all() else [0, 0, 2, 2]
            for box in (large, [1, 1, 1.2, 1.3], None):
                for points in ([], [[rng.uniform(0, width), rng.uniform(0, height)]]):
                    given.append(
                        (replace(config, box_margin=margin), size, points or [[0, 0]], int(bool(points)), box)
                    )
    prompts = [{"points": points, "labels": [label], "box": box} for _, _, points, label, box in given]
    cases = [case("limits", *one[:2], prompt=prompt) for one, prompt in zip(given, prompts, strict=True)]
    assert sum(found is not None for found in run(cases)) > len(cases) / 4
    for (config, size, points, label, box), found in zip(given, run(cases), strict=True):
        wanted = None
        if box is not None and config.box_margin is not None:
            asked = Prompts.of(points, [label], box, photo_size=size)
            wanted = asked.limits(0, config.box_margin, size)
        if wanted is not None:
            rows, columns = wanted
            wanted = {"x0": columns.start, "y0": rows.start, "x1": columns.stop, "y1": rows.stop}
        assert found == wanted


def test_nothing_is_outside_the_limits(run):
    logits = blobs(np.random.default_rng(0), 1)[0]
    limits = {"x0": 5, "y0": 9, "x1": 40, "y1": 33}
    whole, limited = run(
        [case("binarise", PAD, (48, 80), logits=_pack(logits), limits=one) for one in (None, limits)]
    )
    expected = np.zeros((48, 80), bool)
    expected[9:33, 5:40] = decode(whole["rle"])[9:33, 5:40]
    assert 0 < expected.sum() < areas([whole["rle"]])[0]
    np.testing.assert_array_equal(decode(limited["rle"]), expected)


def test_prompts_become_the_same_tokens(run):
    given = [
        (config, size, points, labels, box)
        for config, size in SETTINGS
        for points, labels, box in (
            ([[3.25, 2]], [1], None),
            ([[3.25, 2], [40, 4.5]], [1, 0], None),
            ([], [], [1.5, 0.5, 400, 4]),
            ([[7, 3]], [0], [-3, 1, 30, 2000]),
        )
    ]
    found = run(
        [
            case("tokens", config, size, prompt={"points": points, "labels": labels, "box": box})
            for config, size, points, labels, box in given
        ]
    )
    for (config, size, points, labels, box), tokens in zip(given, found, strict=True):
        prompts = Prompts.of(points or None, labels or None, box, photo_size=size)
        coordinates, kinds = prompts.tokens(Geometry.of(config, *size), config.pad_points_to)
        np.testing.assert_allclose(tokens["points"], coordinates.ravel(), atol=1e-3)
        assert tokens["labels"] == kinds.ravel().tolist()


@pytest.mark.parametrize(
    ("points", "labels", "box"), [([[90, 2]], [1], None), ([[3, 3]], [0], None), ([], [], [90, 0, 99, 9])]
)
def test_prompts_that_make_no_sense_are_refused(run, points, labels, box):
    prompt = {"points": points, "labels": labels, "box": box}
    assert "error" in run([case("tokens", PAD, (48, 80), prompt=prompt)])[0]


def test_the_same_mask_is_chosen(run):
    iou = np.random.default_rng(2).random((8, 4)).astype(np.float32)
    kinds = [
        {"points": [[1, 1]], "labels": [1], "box": None},
        {"points": [[1, 1], [2, 2]], "labels": [1, 0], "box": None},
    ]
    given = [(config, prompt, one) for config in CONFIGS for prompt in kinds for one in iou]
    found = run(
        [case("choose", config, (9, 9), iou=_pack(one), prompt=prompt) for config, prompt, one in given]
    )
    expected = [
        choose(one[None], np.array([len(prompt["labels"]) == 1]), config)[0] for config, prompt, one in given
    ]
    assert found == expected


def test_run_lengths_and_outlines_are_the_mask_again(run):
    rng = np.random.default_rng(3)
    masks = [speckled(rng, size) for size in SIZES] + [np.zeros((5, 7), bool), np.ones((5, 7), bool)]
    found = run([{"call": "recode", "rle": encode(mask)} for mask in masks])
    for mask, result in zip(masks, found, strict=True):
        assert result["rle"] == encode(mask)
        rings = [ring for part in result["outlines"] for ring in part]
        np.testing.assert_array_equal(_filled(rings, mask.shape), mask)
        assert all(_area(outer) > 0 for outer, *_ in result["outlines"])
        assert all(_area(hole) < 0 for _, *holes in result["outlines"] for hole in holes)
        parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        assert len(result["outlines"]) == parts - 1


def _filled(rings, size):
    """The pixels whose centres are inside an odd number of outlines along pixel edges."""
    crossings = np.zeros(size, int)
    for ring in rings:
        for (x, y0), (_, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
            crossings[min(y0, y1) : max(y0, y1), x:] += 1
    return crossings % 2 == 1


def _area(ring):
    (x, y), (next_x, next_y) = np.array(ring).T, np.roll(ring, -1, axis=0).T
    return (x * next_y - next_x * y).sum() / 2


def test_duplicates_are_suppressed_alike(run):
    rng = np.random.default_rng(4)
    corners = rng.integers(0, 12, (60, 2, 2))
    given = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)  # some of no area
    scores = rng.integers(0, 9, 60) / 8  # some equal
    found = run([{"call": "nms", "boxes": given.tolist(), "scores": scores.tolist(), "threshold": 0.7}])[0]
    assert found == nms(given, scores, 0.7).tolist()
    assert 0 < len(found) < 60


def test_logits_are_cleaned_alike(run):
    rng = np.random.default_rng(6)
    empty = np.full((16, 16), -1, np.float32)
    band = np.full((16, 16), -1, np.float32)
    band[5:9] = 1  # parts the mask; what is above is smaller than what is below
    masks = [*(blobs(rng, 6) + rng.normal(0, 1, (6, 16, 16))).astype(np.float32), band, empty]
    given = [(logits, smallest) for logits in masks for smallest in (0, 4, 30, 90)]
    found = run(
        [
            {"call": "cleanLogits", "logits": _pack(logits), "side": 16, "smallest": smallest}
            for logits, smallest in given
        ]
    )
    changed = 0
    for (logits, smallest), cleaned in zip(given, found, strict=True):
        expected = clean_logits(logits, smallest)
        assert (_unpack(cleaned).reshape(16, 16) == expected).all()
        changed += bool((expected != logits).any())
    assert 0 < changed < len(given)


@pytest.mark.parametrize("side", [3, 12])
def test_the_same_points_are_prompted(run, side):
    rng, size = np.random.default_rng(6), (48, 80)
    points = point_grid(side) * size[::-1]
    noted = [(rng.random(5) < 0.4, rng.random((16, 16)) < 0.02) for _ in range(4)]
    schedule, expected = Schedule(points, Geometry.of(PAD, *size), hierarchical=True), []
    for batch in schedule.batches(10):
        promising, certain = noted[len(expected) % 4]
        schedule.note(batch, np.resize(promising, len(batch)), certain)
        expected.append(batch.tolist())
    found = run(
        [
            case(
                "schedule",
                PAD,
                size,
                points=points.tolist(),
                batch=10,
                noted=[{"promising": p.tolist(), "certain": _pack(c.astype(np.uint8))} for p, c in noted],
            )
        ]
    )
    assert found[0] == expected
    assert len(expected) > 0


class LookUp(OneStep):
    """Gives each point of a grid masks of its own."""

    def __init__(self, config, points, iou, logits):
        self.config, self._points, self._iou, self._logits = config, points, iou, logits

    def encode(self, image):
        return np.zeros((1, 256, 4, 4), np.float32)

    def decode(self, embedding, points, labels, mask_input, has_mask):
        numbers = abs(self._points - points[:, :1]).sum(axis=2).argmin(axis=1)
        return self._logits[numbers], self._iou[numbers]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_everything_mode_finds_the_same_masks(run, config):
    rng, size, side = np.random.default_rng(7), (48, 80), 8
    config = replace(
        config,
        points_per_side=side,
        pred_iou_thresh=0.4,
        stability_score_thresh=0.3,
        confident_logit=4.0,
        min_mask_region_cells=3.0,
    )
    points = Geometry.of(config, *size).to_model(point_grid(side) * size[::-1])
    iou = rng.random((side**2, 4)).astype(np.float32)
    logits = discs(rng, points, 4)
    expected = segment_everything(LookUp(config, points, iou, logits), photo(size), Options())
    found = run(
        [case("everything", config, size, points=points.tolist(), iou=_pack(iou), logits=_pack(logits))]
    )[0]
    assert len(found) > 10
    assert [one["predicted_iou"] for one in found] == expected.predicted_iou.astype(float).round(4).tolist()
    for one, rle in zip(found, expected.rle, strict=True):
        ours, theirs = decode(one["rle"]), decode(rle)
        assert (ours & theirs).sum() >= 0.99 * (ours | theirs).sum()
