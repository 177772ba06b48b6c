"""Text prompts: a tiny OWL-ViT of the real architecture with random weights, and recorded boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import run
from networks import write_network
from pocketsam.apps.detectors import Found, RecordedBoxes, TransformersDetector, YoloDetector, open_detector
from pocketsam.apps.text import TextSegmenter
from pocketsam.errors import InputError, ModelError
from pocketsam.segmenter import Segmenter
from predictors import SIDE, BrightEngine, PerfectEngine
from shards import blocks, paint

CAP, SHOE = (4, 6, 30, 28), (36, 8, 58, 56)
MASKS = blocks(CAP, SHOE, size=(SIDE, SIDE))


class Detector:
    """Finds what it is told to."""

    def __init__(self, *found: Found) -> None:
        self.found = list(found)

    def detect(self, image, names, file_name):
        assert image.shape == (SIDE, SIDE, 3) and Path(file_name).name == "photo.png"
        return [one for one in self.found if one.name in names]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(paint(MASKS)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def segment(photo: Path, *found: Found, names=("cap", "shoe")):
    opener = TextSegmenter(Segmenter(engine=PerfectEngine()), Detector(*found), names)
    return opener.open(photo).segment_objects([])


def test_each_box_becomes_a_mask_with_its_name_and_score(photo: Path) -> None:
    masks = segment(photo, Found("shoe", 0.6, SHOE), Found("cap", 0.9, CAP), Found("bag", 0.9, CAP))
    np.testing.assert_array_equal(masks.binary, MASKS)
    assert masks.names == ("cap", "shoe")
    assert [one["detector_score"] for one in masks.details()] == [0.9, 0.6]
    assert [one["detector_score"] for one in masks.coco_annotations()] == [0.9, 0.6]
    assert (masks.overlay() != segment(photo, Found("cap", 0.9, CAP)).overlay()).any()


def test_duplicates_low_scores_and_boxes_beside_the_photo_are_left_out(photo: Path) -> None:
    same = Found("shoe", 0.8, (3, 5, 31, 28))
    masks = segment(
        photo, Found("cap", 0.9, CAP), same, Found("shoe", 0.2, SHOE), Found("cap", 0.9, (70, 0, 90, 9))
    )
    assert masks.names == ("cap",)
    nothing = segment(photo)
    assert len(nothing) == 0 and nothing.details() == []


def test_only_what_stays_is_looked_at_a_second_time(photo: Path) -> None:
    engine, cap = BrightEngine(), (11, 13, 20, 24)
    Image.fromarray(paint(blocks(cap, size=(SIDE, SIDE)))).save(photo)
    same = Found("shoe", 0.8, (11, 13, 20, 25))
    opened = TextSegmenter(Segmenter(engine=engine), Detector(Found("cap", 0.9, cap), same), ("cap", "shoe"))
    photo_of_text = opened.open(photo)
    plain, zoomed = (photo_of_text.segment_objects([], zoom=zoom) for zoom in (False, True))
    assert plain.names == zoomed.names == ("cap",)
    assert zoomed.rle != plain.rle and zoomed.details() == plain.details()
    assert engine.encoded == 2, "the photo, and one window"


@pytest.fixture
def pocketsam(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: PerfectEngine())
    return lambda *words: run(monkeypatch, capsys, "segment", *words)


def test_the_command_takes_boxes_from_a_file(pocketsam, photo: Path) -> None:
    boxes = photo.with_name("boxes.json")
    boxes.write_text(json.dumps({"photo.png": [{"name": "red cap", "score": 0.75, "box": CAP}]}))
    code, out, err = pocketsam(photo, "--text", "red cap", "--detector", boxes, "-o", "found.json")
    assert (code, err) == (0, "")
    assert "1 mask" in out
    document = json.loads(Path("found.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["red cap"]
    assert document["annotations"][0]["detector_score"] == 0.75
    code, _, err = pocketsam(photo, "--text", "dog", "--detector", boxes)
    assert (code, err) == (2, f"pocketsam: {photo}: nothing found for 'dog'\n")


def test_words_that_make_no_sense_are_one_line(pocketsam, photo: Path) -> None:
    for words, line in (
        (("--text", "cap", "--box", "1,2,3,4"), "--text finds the objects; leave out --point"),
        (("--text", " "), "names nothing"),
        (("--text", "cap", "--min-score", "3"), "--min-score 3: is no score"),
        (("--text", "cap", "--detector", "no.json"), "no.json: cannot be read"),
    ):
        code, _, err = pocketsam(photo, *words)
        assert code == 2 and line in err and err.count("\n") == 1


def test_files_without_boxes_are_refused(tmp_path: Path) -> None:
    for content in (
        "[1]",
        "{",
        '{"a.png": [{"name": "cap"}]}',
        '{"a.png": [{"name": "c", "score": 1, "box": [1]}]}',
    ):
        (tmp_path / "boxes.json").write_text(content)
        with pytest.raises(InputError, match=r"boxes\.json: holds no boxes .*; write them as"):
            RecordedBoxes(tmp_path / "boxes.json")


def test_a_detector_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelError, match=r"missing: cannot be opened as a detector .*; give --detector"
    ) as error:
        TransformersDetector(str(tmp_path / "missing"))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def owl(tmp_path_factory) -> Path:
    """A tiny OWL-ViT: the real architecture, random weights, a tokenizer that knows letters."""
    import torch
    from transformers import (
        CLIPTokenizer,
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
        OwlViTProcessor,
    )

    folder = tmp_path_factory.mktemp("owl")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=16)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = OwlViTConfig(
        text_config={**small, "vocab_size": len(words), "max_position_embeddings": 16},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    OwlViTForObjectDetection(config).save_pretrained(folder)
    images = OwlViTImageProcessor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    OwlViTProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def test_an_owl_vit_gives_a_box_for_each_patch_and_name(owl: Path, photo: Path) -> None:
    image = paint(MASKS)
    found = TransformersDetector(str(owl)).detect(image, ["cap", "red shoe"], "photo.png")
    assert [one.name for one in found] == ["cap"] * 16 + ["red shoe"] * 16
    assert all(0 <= one.score <= 1 and one.box[0] < one.box[2] for one in found)
    wide = TransformersDetector(str(owl)).detect(np.repeat(image, 2, axis=1), ["cap"], "photo.png")
    assert np.mean([one.box[2] for one in wide]) > 1.5 * np.mean([one.box[2] for one in found])
    opener = TextSegmenter(Segmenter(engine=PerfectEngine()), TransformersDetector(str(owl)), ["cap"], 0.0)
    assert set(opener.open(photo).segment_objects([]).names) == {"cap"}


def yolo(path: Path, names: str = "{0: 'Red cap', 1: 'shoe'}", classes: int = 2) -> Path:
    """A detector for photos of 64 × 64 pixels: the cap twice, the shoe, and something uncertain."""
    columns = np.zeros((1, 4 + classes, 4), np.float32)
    for column, ((x0, y0, x1, y1), which, score) in enumerate(
        [(CAP, 0, 0.9), ((4, 6, 30, 27), 0, 0.8), (SHOE, 1, 0.6), ((0, 0, 9, 9), 1, 0.005)]
    ):
        columns[0, :4, column] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        columns[0, 4 + which, column] = score
    return write_network(path, columns, metadata={"names": names})


def test_a_yolo_network_finds_the_names_that_it_was_exported_with(tmp_path: Path) -> None:
    detector = open_detector(str(yolo(tmp_path / "world.onnx")))
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    cap, shoe = detector.detect(image, ["shoe", "red cap"], "photo.png")
    assert (cap.name, shoe.name) == ("red cap", "shoe")
    assert [cap.score, shoe.score] == pytest.approx([0.9, 0.6])
    assert (cap.box, shoe.box) == (CAP, SHOE)
    (only,) = detector.detect(np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8), ["shoe"], "large.png")
    assert only.box == tuple(2 * side for side in SHOE)


def test_what_a_yolo_network_cannot_find_is_one_line(tmp_path: Path) -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(
        InputError, match=r"world.onnx: was not exported with the name 'dog'; it finds Red cap, shoe"
    ):
        YoloDetector(yolo(tmp_path / "world.onnx")).detect(image, ["dog"], "photo.png")
    with pytest.raises(
        ModelError, match=r"nameless.onnx: does not say which names it finds; give a YOLO-World"
    ):
        YoloDetector(yolo(tmp_path / "nameless.onnx", names=""))
    with pytest.raises(ModelError, match=r"three.onnx: gives \(1, 7, 4\), not \(1, 4 \+ 2 names, A\)"):
        YoloDetector(yolo(tmp_path / "three.onnx", classes=3)).detect(image, ["shoe"], "photo.png")


def test_recorded_boxes_are_known_by_path_or_by_name(tmp_path: Path) -> None:
    boxes = {name: [{"name": name, "score": 0.5, "box": CAP}] for name in ("cats/1.jpg", "1.jpg")}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    recorded = RecordedBoxes(tmp_path / "boxes.json")
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for path, known in (("cats/1.jpg", "cats/1.jpg"), ("dogs/1.jpg", "1.jpg"), ("1.jpg", "1.jpg")):
        assert [one.name for one in recorded.detect(image, list(boxes), path)] == [known]
