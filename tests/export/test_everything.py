"""Everything mode in one file: it gives the masks that the published filters give on our own engine's predictions."""

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image
from random_graphs import write_random_graphs

from commands import run
from pocketsam.automatic.schedule import point_grid
from pocketsam.config import EFFICIENT_SAM, SAM
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.export.everything import export_everything
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import load_image, preprocess
from pocketsam.predict.prompts import Prompts
from pocketsam.utils.boxes import nms
from pocketsam.zoo import PACKAGED

SIDE = 6
RANDOM = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
"""Predicted IoU of random weights may be anything; at 0 all pass. Their logits are small, so that none is stable."""
CONFIGS = {
    "SAM": replace(SAM, image_size=128, **RANDOM),
    "squashed": replace(SAM, image_size=128, resize="squash", click_masks=(0, 1, 2, 3), **RANDOM),
    "EfficientSAM": replace(EFFICIENT_SAM, image_size=128, **RANDOM),
}


def expected(engine: OnnxEngine, photo, pred_iou, stability, box_nms):
    """The filters, step by step."""
    config, (height, width) = engine.config, photo.shape[:2]
    geometry = Geometry.of(config, height, width)
    points = (point_grid(SIDE) * (width, height))[:, None]
    prompts = Prompts.of(points=points, photo_size=(height, width))
    prepared = engine.prepare(engine.encode(preprocess(photo, config)))
    prediction = engine.predict_iou(prepared, *prompts.tokens(geometry, config.pad_points_to))
    logits = engine.decode_masks(prediction, np.arange(len(points)))
    rows, columns = (np.ceil(size / 4).astype(int) for size in geometry.resized)
    found = []
    for i in range(len(points)):
        for mask in config.click_masks:
            cells = logits[i, mask, :rows, :columns]
            stable = (cells > 1).sum() / max(1, (cells > -1).sum())
            confident = prediction.predicted_iou[i, mask] > pred_iou or not pred_iou
            if not confident or stable < stability or not (cells > 0).any():
                continue
            y, x = np.nonzero(cells > 0)
            box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
            scale = 4 * np.tile((width / geometry.resized[1], height / geometry.resized[0]), 2)
            found.append((logits[i, mask], box * scale, prediction.predicted_iou[i, mask], stable))
    masks, boxes, ious, stabilities = (np.array(part) for part in zip(*found, strict=True))
    kept = nms(boxes, ious, box_nms)
    return masks[kept], boxes[kept], ious[kept], stabilities[kept], (rows, columns)


def check(session: ort.InferenceSession, engine: OnnxEngine, photo, **thresholds: float) -> int:
    """The number of masks, which are those expected."""
    config = engine.config
    chosen = {
        "pred_iou_thresh": config.pred_iou_thresh,
        "stability_score_thresh": config.stability_score_thresh,
        "box_nms_thresh": 0.7,
    } | thresholds
    given = {name: np.array([value], np.float32) for name, value in thresholds.items()}
    masks, boxes, ious, stabilities, covered = session.run(None, {"photo": photo.astype(np.float32), **given})
    wanted = expected(engine, photo, *chosen.values())
    assert len(masks) == len(wanted[0])
    np.testing.assert_allclose(ious, wanted[2], atol=1e-3)
    np.testing.assert_allclose(stabilities, wanted[3], atol=2e-2)
    np.testing.assert_allclose(boxes, wanted[1], atol=4 * max(photo.shape) / config.image_size)
    assert ((masks > 0) != (wanted[0] > 0)).mean() < 1e-3
    assert tuple(covered) == tuple(wanted[4])
    return len(masks)


@pytest.mark.parametrize("name", CONFIGS)
def test_any_model_gives_what_the_filters_give(name, tmp_path) -> None:
    config = replace(CONFIGS[name], name="random")
    write_random_graphs(tmp_path, config)
    session = ort.InferenceSession(export_everything(tmp_path, tmp_path / "out", SIDE))
    engine = OnnxEngine(tmp_path)
    height = 96 if config.resize == "pad" else 128  # which is not resized
    photo = np.random.default_rng(0).integers(0, 256, (height, 128, 3), np.uint8)
    assert check(session, engine, photo)


def test_pocket_finds_objects_and_none_above_a_predicted_iou_of_1(monkeypatch, capsys, tmp_path) -> None:
    words = ["-o", tmp_path, "--points-per-side", SIDE]
    status, out, _ = run(monkeypatch, capsys, "export", "everything", *words)
    assert status == 0 and "everything.onnx" in out
    session = ort.InferenceSession(tmp_path / "everything.onnx")
    engine, photo = OnnxEngine(PACKAGED), load_image("samples/sneakers.jpg")
    # Of the model's size: to resize a photo, our own engine rounds its pixels, and the file does not.
    photo = np.asarray(Image.fromarray(photo).resize((512, 512)))
    usual = check(session, engine, photo)
    strict = check(session, engine, photo, pred_iou_thresh=0.7)
    separate = check(session, engine, photo, box_nms_thresh=0.3)
    assert usual > max(strict, separate) and min(strict, separate) > 0
    given = {"photo": photo.astype(np.float32), "pred_iou_thresh": np.ones(1, np.float32)}
    assert not any(len(found) for found in session.run(None, given)[:4])


def test_too_fine_a_grid_is_refused(monkeypatch, capsys, tmp_path) -> None:
    words = ["-o", tmp_path, "--points-per-side", 2000]
    status, _, error = run(monkeypatch, capsys, "export", "everything", *words)
    assert status == 2 and "2000 is not in the range 1<=x<=1024" in error


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("pocketsam.export.everything.read_graphs", lambda _: pytest.fail("it has begun"))
    (tmp_path / "file").touch()
    status, _, error = run(monkeypatch, capsys, "export", "everything", "-o", tmp_path / "file" / "new")
    assert status == 2 and error.count("\n") == 1 and f"{tmp_path / 'file'}: cannot be written to" in error
