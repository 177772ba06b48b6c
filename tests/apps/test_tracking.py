"""Masks carried through frames, with a model that is right about drawn photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import files, run
from pocketsam.apps.tracking import track
from pocketsam.errors import InputError
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.segmenter import Segmenter
from predictors import SIDE, PerfectEngine
from shards import blocks, paint

BOX = ObjectPrompt(box=(4, 6, 24, 28), name="cart")


def clip(folder: Path, *steps: int) -> list[Path]:
    """Frames of a block that has moved so many pixels to the right; None is a frame without it."""
    frames = []
    for i, step in enumerate(steps):
        box = (0, 0, 0, 0) if step is None else (4 + step, 6, 24 + step, 28)
        frames.append(folder / f"{i:03}.png")
        Image.fromarray(paint(blocks(box, size=(SIDE, SIDE)))).save(frames[-1])
    return frames


def test_a_mask_follows_its_object(tmp_path: Path) -> None:
    steps = (0, 6, 12, 20, 30)
    tracked = list(track(Segmenter(engine=PerfectEngine()), clip(tmp_path, *steps), [BOX]))
    for step, frame in zip(steps, tracked, strict=True):
        expected = blocks((4 + step, 6, 24 + step, 28), size=(SIDE, SIDE))
        np.testing.assert_array_equal(frame.masks.binary, expected)
        assert frame.found.tolist() == [True] and frame.masks.names == ("cart",)


def test_each_frame_is_prompted_by_the_last_mask(tmp_path: Path) -> None:
    engine = PerfectEngine()
    list(track(Segmenter(engine=engine), clip(tmp_path, 0, 6), [BOX]))
    point, start, end = engine.decoded[-1][0] / 4
    assert 4 <= point[0] < 24 and 6 <= point[1] < 28
    np.testing.assert_allclose(
        [*start, *end], [3, 4.9, 25, 29.1], atol=0.01
    )  # a twentieth larger on each side


@pytest.fixture
def pocketsam(monkeypatch, capsys, tmp_path):
    (tmp_path / "clip").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: PerfectEngine())
    return lambda *words: run(monkeypatch, capsys, "track", *words)


def test_the_command_writes_overlays_and_coco(pocketsam) -> None:
    clip(Path("clip"), 0, 6, 12)
    code, out, err = pocketsam("clip", "--box", "cart=4,6,24,28", "-o", "out")
    assert (code, err) == (0, "")
    assert "3 overlays and tracks.json" in out
    assert files(Path("out")) == ["000.overlay.jpg", "001.overlay.jpg", "002.overlay.jpg", "tracks.json"]
    document = json.loads(Path("out/tracks.json").read_text())
    assert [one["object"] for one in document["annotations"]] == [0, 0, 0]
    assert len(document["images"]) == 3


def test_what_makes_no_sense_is_one_line(pocketsam) -> None:
    clip(Path("clip"), 0, 6)
    Image.new("RGB", (20, 30)).save("clip/900.png")
    for words, line in (
        (("clip",), "there is no prompt"),
        (("clip/000.png", "--point", "9,9"), "is one frame"),
        (("clip", "--point", "60,60"), "no object found for the point (60, 60)"),
        (("clip", "--point", "9,9"), "900.png: is of another size"),
    ):
        code, _, err = pocketsam(*words)
        assert code == 2 and line in err and err.count("\n") == 1, err


def test_a_lost_object_is_reported_and_found_again_where_it_was(tmp_path: Path) -> None:
    class Blind(PerfectEngine):
        """Sees nothing in a frame without the object."""

        def answer(self, objects, points, labels):
            return super().answer(objects, points, labels) if objects.any() else np.zeros_like(objects, bool)

    tracked = list(track(Segmenter(engine=Blind()), clip(tmp_path, 0, None, 6), [BOX]))
    assert [frame.found.tolist() for frame in tracked] == [[True], [False], [True]]
    with pytest.raises(InputError, match="no object found"):
        list(track(Segmenter(engine=Blind()), clip(tmp_path, None, 0), [BOX]))


def test_frames_of_several_folders_are_told_apart(pocketsam) -> None:
    for folder, lefts in (("clip", (0, 6)), ("more", (12,))):
        Path(folder).mkdir(exist_ok=True)
        clip(Path(folder), *lefts)
    assert pocketsam("clip", "more", "--box", "cart=4,6,24,28", "-o", "out")[0] == 0
    images = json.loads(Path("out/tracks.json").read_text())["images"]
    assert [one["file_name"] for one in images] == ["clip/000.png", "001.png", "more/000.png"]
