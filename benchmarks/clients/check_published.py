"""PyPI's segment-anything and pocketsam.compat on the same ViT-B, in one process: predictors and generators.

After the first photo one encoder serves both: its embeddings are equal, and take nearly all of the time.
"""

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import photo, vit_b_checkpoint

sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("pocketsam")]
import segment_anything as published  # noqa: E402

from pocketsam import compat  # noqa: E402
from pocketsam.automatic.schedule import point_grid  # noqa: E402

assert published.__file__ != compat.__file__
PHOTOS = ("sneakers", "cap", "tshirt")
POINTS = np.array([[120.0, 210.0], [300.5, 100.25], [60.0, 300.0], [250.0, 250.0], [10.0, 20.0]])
BOX = np.array([20.0, 60.0, 342.0, 371.0])


def prompts(size: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Eleven prompts on a photo."""

    def points(labels: list[int]) -> dict[str, Any]:
        return {"point_coords": POINTS[: len(labels)], "point_labels": np.array(labels)}

    outside = {"point_coords": np.array([[-20.0, size[0] + 30.0]]), "point_labels": np.array([1])}
    return {
        "a point": points([1]),
        "two points": points([1, 1]),
        "a point and one beside": points([1, 0]),
        "a point beside": points([0]),
        "five points": points([1, 0, 1, 1, 0]),
        "a padding point": points([1, -1]),
        "labels 2 and 3": points([2, 3]),
        "a point outside": outside,
        "a box": {"box": BOX},
        "a box and a point": {"box": BOX, **points([1])},
        "nothing": {},
    }


def cases(size: tuple[int, int], mask: np.ndarray) -> list[dict[str, Any]]:
    """Each prompt in seven ways: three masks or one, as logits or not, and with a mask as a prompt."""
    ways = [
        {"multimask_output": multimask, "return_logits": logits}
        for multimask, logits in itertools.product((True, False), repeat=2)
    ]
    ways += [{"mask_input": mask, "multimask_output": multimask} for multimask in (True, False)]
    ways += [{"mask_input": mask, "return_logits": True}]
    return [prompt | way for prompt in prompts(size).values() for way in ways]


def compare_predictors(theirs: Any, ours: Any) -> dict[str, Any]:
    """The largest differences over all cases, how many masks differ in a pixel, and processor times."""
    count, differing, pixels, logits, iou, embedding = 0, 0, 0, 0.0, 0.0, 0.0
    seconds = {"published": 0.0, "compat": 0.0}
    encoding = {}
    for name in PHOTOS:
        image = photo(name)
        for who, predictor in zip(seconds, (theirs, ours), strict=True):
            start = time.process_time()
            predictor.set_image(image)
            encoding.setdefault(who, time.process_time() - start)
        embedding = max(
            embedding, float((theirs.features - ours.features).abs().max() / theirs.features.std())
        )
        if name == PHOTOS[0]:  # encoded by each; from now on one encodes for both, which saves minutes
            shared = Remembered(ours.model.image_encoder)
            theirs.model.image_encoder = ours.model.image_encoder = shared
        mask = theirs.predict(box=BOX, multimask_output=False)[2]
        for case in cases(image.shape[:2], mask):
            answers = []
            for who, predictor in zip(seconds, (theirs, ours), strict=True):
                start = time.process_time()
                answers.append(predictor.predict(**case))
                seconds[who] += time.process_time() - start
            (masks, scores, low_res), (our_masks, our_scores, our_low_res) = answers
            count += 1
            wrong = (masks > 0) != (our_masks > 0)
            differing += int(wrong.any())
            pixels += int(wrong.sum())
            logits = max(logits, float(abs(low_res - our_low_res).max() / low_res.std()))
            iou = max(iou, float(abs(scores - our_scores).max()))
        print(f"{name}: {count} cases", file=sys.stderr, flush=True)
    return {
        "predictor cases": count,
        "with a differing pixel": differing,
        "differing pixels": pixels,
        "embedding, of its deviation": embedding,
        "logits, of their deviation": logits,
        "predicted IoU": iou,
        "seconds to encode": {who: round(value, 1) for who, value in encoding.items()},
        "ms a call": {who: round(1000 * value / count) for who, value in seconds.items()},
    }


class Remembered(torch.nn.Module):
    """An encoder that encodes each photo once, for both packages: it takes nearly all of the time."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder, self.img_size = encoder, encoder.img_size
        self.known: dict[bytes, torch.Tensor] = {}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        key = (pixels * 1000).round().to(torch.int16)[0, :, ::16, ::16].contiguous().numpy().tobytes()
        if key not in self.known:
            self.known[key] = self.encoder(pixels)
        return self.known[key]


def compare_generators(theirs: Any, ours: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Counts, order and masks of generators with crops and clean-up, in all modes, and after attributes change."""
    options = {
        "points_per_side": 6,
        "points_per_batch": 16,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "stability_score_offset": 0.05,
        "box_nms_thresh": 0.9,
        "crop_nms_thresh": 0.9,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "min_mask_region_area": 50,
    }
    for sam in (theirs, ours):
        sam.mask_threshold = (
            1.2  # so high that masks are small: larger ones touch a crop's edges, and are left out
        )
    pairs = {
        mode: [
            package.SamAutomaticMaskGenerator(sam, **options, output_mode=mode)
            for package, sam in ((published, theirs), (compat, ours))
        ]
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    }
    for mode, pair in pairs.items():
        yield mode, compare_records(pair)
    changed = pairs["binary_mask"]
    for generator in changed:
        generator.crop_n_layers, generator.min_mask_region_area, generator.box_nms_thresh = 0, 0, 0.8
        generator.point_grids = [np.array([[0.3, 0.4], [0.6, 0.6], [0.5, 0.2], [0.8, 0.7]])]
    yield "point_grids, layers and thresholds assigned", compare_records(changed)
    for generator in changed:
        generator.predictor.model.mask_threshold = 0.5
    yield "mask_threshold assigned", compare_records(changed)
    for generator in changed:
        generator.pred_iou_thresh, generator.stability_score_thresh = 0.1, 0.5
        generator.point_grids = [point_grid(6)]
    yield "pred_iou_thresh and stability_score_thresh assigned", compare_records(changed)


def compare_records(pair: list[Any]) -> dict[str, Any]:
    image = photo("sneakers")
    answers, seconds = [], []
    for generator in pair:
        start = time.process_time()
        answers.append(generator.generate(image))
        seconds.append(round(time.process_time() - start, 1))
    theirs, ours = answers
    crops = {tuple(record["crop_box"]) for record in theirs}
    same = [
        np.array_equal(as_array(a["segmentation"]), as_array(b["segmentation"]))
        for a, b in zip(theirs, ours, strict=False)
    ]
    fields = all(
        # The published stability of a mask without a pixel is 0/0, ours is 0.
        np.allclose(np.nan_to_num(a[name]), b[name], rtol=0, atol=1e-5)
        for a, b in zip(theirs, ours, strict=False)
        for name in ("area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box")
    )
    return {
        "published": len(theirs),
        "compat": len(ours),
        "equal masks": sum(same),
        "other fields equal to 1e-5": fields,
        "crops with masks": len(crops),
        "seconds": dict(zip(("published", "compat"), seconds, strict=True)),
    }


def as_array(segmentation: Any) -> np.ndarray:
    if isinstance(segmentation, np.ndarray):
        return segmentation
    return np.frombuffer(json.dumps(segmentation, sort_keys=True).encode(), np.uint8)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        checkpoint = vit_b_checkpoint(Path(name))
        models = [
            package.sam_model_registry["vit_b"](checkpoint=checkpoint) for package in (published, compat)
        ]
    print(
        json.dumps(compare_predictors(*(published.SamPredictor(models[0]), compat.SamPredictor(models[1])))),
        flush=True,
    )
    for name, report in compare_generators(*models):
        print(json.dumps({"generator": name, **report}), flush=True)


if __name__ == "__main__":
    main()
