"""The files for AnyLabeling and others: fed as these programs feed them, they give the masks of our own engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import yaml
from random_graphs import write_random_graphs

from commands import run
from pocketsam import Segmenter
from pocketsam.config import EFFICIENT_SAM, SAM
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.export.frames import FRAME
from pocketsam.export.segment_anything import DECODER_INPUTS, DECODER_OUTPUTS, export_segment_anything
from pocketsam.predict.image import load_image
from pocketsam.zoo import PACKAGED

SQUASHED = replace(SAM, image_size=128, resize="squash", click_masks=(0, 1, 2, 3))
CONFIGS = {
    "SAM's square": replace(SAM, image_size=FRAME),
    "a smaller square": replace(SAM, image_size=128),
    "squashed": SQUASHED,
    "EfficientSAM": replace(EFFICIENT_SAM, image_size=128),
}
SIZES = [(120, 70), (30, 128)]
POINTS = [(0.5, 0.4), (0.2, 0.7), (0.9, 0.9)]


class Program:
    """Runs the files as AnyLabeling and samexporter do: marks in pixels of the photo, always a padding point."""

    def __init__(self, folder: Path, name: str) -> None:
        self.encoder, self.decoder = (
            ort.InferenceSession(folder / f"{name}.{part}.onnx") for part in ("encoder", "decoder")
        )

    def encode(self, photo):
        (embedding,) = self.encoder.run(None, {"input_image": photo.astype(np.float32)})
        return embedding

    def decode(self, embedding, size, points, labels, mask=None):
        """embedding: of our engine."""
        resized = np.floor(np.array(size) * (FRAME / max(size)) + 0.5)
        if self.decoder.get_inputs()[0].shape[1] > embedding.shape[1]:
            content = np.zeros((1, 1, *embedding.shape[2:]), np.float32)
            content[0, 0, 0, :2] = resized
            embedding = np.concatenate([embedding, content], 1)
        given = {
            "image_embeddings": embedding,
            "point_coords": np.array([[*points, (0, 0)]]) * (resized / size)[::-1],
            "point_labels": np.array([[*labels, -1]]),
            "mask_input": np.zeros((1, 1, 256, 256)) if mask is None else mask,
            "has_mask_input": np.array([float(mask is not None)]),
            "orig_im_size": np.array(size),
        }
        return self.decoder.run(None, {name: np.asarray(x, np.float32) for name, x in given.items()})


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request, tmp_path_factory):
    """A model of random weights: what runs its files, and our own engine."""
    config = replace(CONFIGS[request.param], name="random")
    folder = tmp_path_factory.mktemp("model")
    write_random_graphs(folder, config)
    export_segment_anything(folder, folder / "out")
    return Program(folder / "out", "random"), Segmenter(engine=OnnxEngine(folder))


def photo_of(size):
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_masks_are_those_of_our_engine(exported, size):
    program, segmenter = exported
    photo = segmenter.open(photo_of(size))
    pixels = [(x * size[1], y * size[0]) for x, y in POINTS]
    box = [*pixels[1], *pixels[2]]
    for prompt, points, labels in (
        ({"points": pixels[:1]}, pixels[:1], [1]),
        ({"points": pixels, "labels": [1, 0, 1]}, pixels, [1, 0, 1]),
        ({"boxes": box}, pixels[1:], [2, 3]),
        ({"boxes": box, "points": pixels[:1]}, pixels, [1, 2, 3]),
    ):
        expected = photo.candidates(**prompt).best()
        logits = photo.geometry.logits_to_photo(expected.logits[0])
        masks, iou, low = program.decode(photo.embedding, size, points, labels)
        assert masks.shape == (1, 1, *size)
        assert low.shape == (1, 1, 256, 256)
        np.testing.assert_allclose(iou[0], expected.predicted_iou, atol=1e-4)
        assert np.abs(masks[0, 0] - logits).max() <= 1e-3 * logits.std(), prompt


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_low_resolution_mask_is_a_prompt_again(exported, size):
    program, segmenter = exported
    if not segmenter.engine.config.takes_masks:
        pytest.skip("the model takes no masks")
    photo = segmenter.open(photo_of(size))
    point = [(POINTS[0][0] * size[1], POINTS[0][1] * size[0])]
    first = photo.candidates(point).best()
    _, _, low = program.decode(photo.embedding, size, point, [1])
    expected = photo.candidates(point, mask_input=first.logits).best()
    masks, iou, _ = program.decode(photo.embedding, size, point, [1], low)
    logits = photo.geometry.logits_to_photo(expected.logits[0])
    np.testing.assert_allclose(iou[0], expected.predicted_iou, atol=0.02)
    correlation = np.corrcoef(masks.ravel(), logits.ravel())[0, 1]
    assert correlation > 0.99


def test_the_encoder_prepares_the_photo_as_we_do(exported):
    program, segmenter = exported
    side = segmenter.engine.config.image_size
    size = (
        side // 4 * 3,
        side,
    )  # it has the model's size, so that nothing is resized before it is normalised
    photo = photo_of(size)
    if segmenter.engine.config.resize == "squash":
        photo = photo_of((side, side))
    embedding = segmenter.open(photo).embedding
    encoded = program.encode(photo)[:, : embedding.shape[1]]
    assert np.abs(encoded - embedding).max() <= 1e-3 * embedding.std()


def test_large_photos_are_shrunk_as_we_do(exported):
    program, segmenter = exported
    rows, columns = np.mgrid[0:900, 0:1200] / 100
    photo = (128 + 100 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)).astype(
        np.uint8
    )
    embedding = segmenter.open(photo).embedding
    difference = program.encode(photo)[:, : embedding.shape[1]] - embedding
    assert (
        np.sqrt((difference**2).mean()) <= 0.02 * embedding.std()
    )  # our pixels are rounded to whole numbers


def test_a_black_frame_around_a_photo_changes_nothing(exported):
    """AnyLabeling places each photo in a frame of 1024 × 684 pixels."""
    program, segmenter = exported
    if segmenter.engine.config.resize == "pad":
        pytest.skip("padding stays, as in the published models")
    size = 684, 513  # three quarters of 684, so that nothing is rounded
    photo = np.clip(np.float32(photo_of(size)), 1, 255)
    framed = np.zeros((684, 1024, 3), np.float32)
    framed[:, :513] = photo
    packed = program.encode(framed)
    np.testing.assert_array_equal(packed[0, -1, 0, :2], size)
    points, labels = np.array([[250.0, 300.0], [0, 0]]), np.array([1.0, -1])
    given = {"point_coords": points[None], "point_labels": labels[None], "has_mask_input": np.zeros(1)}
    masks = []
    for embedded, orig in ((packed, framed.shape[:2]), (program.encode(photo), photo.shape[:2])):
        scale = FRAME / max(orig)
        inputs = given | {"image_embeddings": embedded, "point_coords": points[None] * scale}
        inputs |= {"mask_input": np.zeros((1, 1, 256, 256)), "orig_im_size": np.array(orig)}
        masks.append(program.decoder.run(None, {name: np.float32(x) for name, x in inputs.items()})[0])
    assert masks[0].shape == (1, 1, 684, 1024)
    assert np.abs(masks[0][..., :513] - masks[1]).max() <= 1e-3 * masks[1].std()


def test_the_command_writes_files_as_the_layout_says(tmp_path, monkeypatch, capsys, samples):
    code, printed, _ = run(monkeypatch, capsys, "export", "segment-anything", "-o", tmp_path)
    assert code == 0
    assert "pocket.encoder.onnx" in printed
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert settings["type"] == "segment_anything"
    decoder = ort.InferenceSession(tmp_path / settings["decoder_model_path"])
    names = [value.name for value in decoder.get_inputs()]
    assert names == ["image_embeddings", *(tensor.name for tensor in DECODER_INPUTS)]
    assert [value.name for value in decoder.get_outputs()] == [tensor.name for tensor in DECODER_OUTPUTS]
    assert all(value.type == "tensor(float)" for value in decoder.get_inputs())
    encoder = ort.InferenceSession(tmp_path / settings["encoder_model_path"])
    assert encoder.get_inputs()[0].shape[2:] == [3]
    check_against_samexporter(tmp_path, samples)


def check_against_samexporter(folder, samples):
    """Its own runner, where it is installed, gives our mask of a box."""
    sam_onnx = pytest.importorskip("samexporter.sam_onnx")
    paths = (str(folder / f"pocket.{part}.onnx") for part in ("encoder", "decoder"))
    runner = sam_onnx.SegmentAnythingONNX(*paths)
    photo = load_image(samples / "tshirt.jpg")
    box = [61, 20, 446, 382]
    theirs = (
        runner.predict_masks(runner.encode(photo[..., ::-1]), [{"type": "rectangle", "data": box}])[0, 0] > 0
    )
    opened = Segmenter(engine=OnnxEngine(PACKAGED)).open(photo)
    ours = opened.geometry.logits_to_photo(opened.segment(boxes=box).logits[0]) > 0
    assert (theirs & ours).sum() / (theirs | ours).sum() >= 0.99
