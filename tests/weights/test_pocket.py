"""The model inside the package: it is the trained one, it says the same in every form, and its masks are right.

The true masks of the sample photos come from their colours: an orange shirt on a green carpet, a cap on red cloth.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pocketsam import Segmenter
from pocketsam.engines.torch import TorchEngine
from pocketsam.evaluation.metrics import ious
from pocketsam.export.onnx import export_onnx
from pocketsam.predict.candidates import choose
from pocketsam.predict.image import load_image, preprocess
from pocketsam.segmenter import Photo
from pocketsam.utils.boxes import tight_box

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "pocket"
SAMPLES = ROOT / "samples"
LARGEST_FILES = 22_000_000


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask, without holes."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(canvas, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return canvas.astype(bool)


def shirt(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    r, g, b = image.astype(int).transpose(2, 0, 1)
    return filled((r > g + 50) & (r > b + 50))


def cap(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return filled(image[..., 1] > 90)


TRUTHS = {"tshirt.jpg": shirt, "cap.jpg": cap}


@pytest.fixture(scope="module")
def shipped() -> Segmenter:
    return Segmenter("pocket")


@pytest.fixture(scope="module")
def torch_engine() -> TorchEngine:
    return TorchEngine.load(CHECKPOINT)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_box_gives_the_object(name: str, shipped: Segmenter) -> None:
    image = load_image(SAMPLES / name)
    truth = TRUTHS[name](image)
    mask = shipped.open(image).segment(boxes=tight_box(truth))
    assert ious(mask, truth[None])[0] > 0.8


def test_a_negative_click_with_the_former_mask_corrects_it(shipped: Segmenter) -> None:
    """The example of docs/how-to/segment-from-python.md: the loose end of a lace shrinks, the shoe does not."""
    photo = shipped.open(SAMPLES / "sneakers.jpg")
    first = photo.segment(boxes=(20, 130, 342, 371))
    better = photo.segment(points=(67, 290), labels=0, mask_input=first.logits)
    before, after = first.binary[0], better.binary[0]
    assert before[290, 67]
    assert not after[290, 67]
    assert (before & after).sum() > 0.9 * before.sum()
    lace = np.s_[260:335, 55:130]
    assert after[lace].sum() < 0.7 * before[lace].sum()


def test_the_files_are_small_and_described(shipped: Segmenter) -> None:
    folder = ROOT / "src" / "pocketsam" / "weights" / "pocket"
    assert sum(file.stat().st_size for file in folder.glob("*.onnx")) <= LARGEST_FILES
    config = shipped.engine.config
    assert (config.name, config.image_size) == ("pocket", 512)
    assert config.licence == "Apache-2.0"


def test_float32_onnx_is_pytorch_to_a_thousandth(torch_engine: TorchEngine, tmp_path: Path) -> None:
    export_onnx(torch_engine.sam, torch_engine.config, tmp_path)
    image = load_image(SAMPLES / "cap.jpg")
    by_onnx = Segmenter(tmp_path).open(image)
    torch_ = Segmenter(engine=torch_engine).open(image)
    assert np.abs(by_onnx.embedding - torch_.embedding).max() <= 1e-3 * torch_.embedding.std()
    for ours, theirs in zip(answers(by_onnx), answers(torch_), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-3 * theirs.std()


def test_openvino_computes_with_int8_weights_in_float(torch_engine: TorchEngine, tmp_path: Path) -> None:
    """For many objects at a time, too: OpenVINO's own arithmetic with stored integers gives other masks there."""
    export_onnx(torch_engine.sam, torch_engine.config, tmp_path, "compact")
    image = load_image(SAMPLES / "sneakers.jpg")
    photos = [Segmenter(tmp_path, engine, threads=2).open(image) for engine in ("openvino", "onnx")]
    for clicks in (1, 3):
        points = np.random.default_rng(0).integers(20, 300, (16, clicks, 2)).tolist()
        ours, theirs = (photo.segment(points=points) for photo in photos)
        assert np.abs(ours.logits - theirs.logits).max() <= 1e-2 * theirs.logits.std()


@pytest.mark.parametrize(("precision", "mean", "lowest"), [("float32", 0.995, 0.99), ("int8", 0.985, 0.95)])
def test_what_is_shipped_gives_the_masks_of_pytorch(
    precision: str, mean: float, lowest: float, torch_engine: TorchEngine
) -> None:
    shipped, overlaps = Segmenter("pocket", precision=precision), []
    for path in sorted(SAMPLES.glob("*.jpg")):
        image = load_image(path)
        height, width = image.shape[:2]
        boxes = np.array([[0.1, 0.1, 0.9, 0.9], [0.3, 0.2, 0.7, 0.8]]) * [width, height, width, height]
        theirs = Segmenter(engine=torch_engine).open(image).segment(boxes=boxes)
        overlaps += list(ious(shipped.open(image).segment(boxes=boxes), theirs.binary))
    assert np.mean(overlaps) >= mean
    assert min(overlaps) >= lowest


def test_half_precision_gives_the_masks_of_float32(torch_engine: TorchEngine) -> None:
    """On average over clicks, each with the mask that float32 chooses."""
    half = TorchEngine(torch_engine.sam, torch_engine.config, "bfloat16")
    overlaps: list[float] = []
    for name in ("cap", "sneakers", "tshirt"):  # processors without bfloat16 take ten times as long
        photos = [Segmenter(engine=engine).open(SAMPLES / f"{name}.jpg") for engine in (half, torch_engine)]
        height, width = photos[0].image.shape[:2]
        x, y = np.meshgrid(np.linspace(0.2, 0.8, 4) * width, np.linspace(0.2, 0.8, 4) * height)
        clicks = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        ours, theirs = (photo.candidates(points=clicks) for photo in photos)
        chosen = choose(theirs.predicted_iou, theirs.prompts.ambiguous, theirs.config)[:, None]
        overlaps += list(ious(ours.take(chosen), theirs.take(chosen).binary))
        if name != "cap":
            assert np.abs(ours.predicted_iou - theirs.predicted_iou).max() <= 0.03
    assert np.mean(overlaps) >= 0.97


def test_the_checkpoint_is_what_was_exported(torch_engine: TorchEngine) -> None:
    image = preprocess(load_image(SAMPLES / "cap.jpg"), torch_engine.config)
    theirs = torch_engine.encode(image)
    for precision, numerics, error in (("float32", "compact", 0.01), ("int8", "w7a8-", 0.1)):
        engine = Segmenter("pocket", precision=precision).engine
        assert replace(engine.config, numerics="") == replace(torch_engine.config, numerics="")
        assert engine.config.numerics.startswith(numerics)
        assert (engine.encode(image) - theirs).std() <= error * theirs.std()


def answers(photo: Photo) -> list[NDArray[np.float32]]:
    """Low-resolution logits for a click, a box, and both with a mask fed back."""
    height, width = photo.image.shape[:2]
    click, box = (width / 2, height / 2), (width / 5, height / 5, width * 0.8, height * 0.8)
    by_click, by_box = photo.segment(points=click), photo.segment(boxes=box)
    both = photo.segment(points=[click, (5, 5)], labels=[1, 0], boxes=box, mask_input=by_click.logits)
    return [masks.logits for masks in (by_click, by_box, both)]
