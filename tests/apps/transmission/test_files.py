"""`pocketsam transmit` from file to file, and its errors of one line each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import files, run
from predictors import SIDE, EmptyEngine, PerfectEngine
from shards import blocks, paint

BOX = (16, 8, 48, 40)


@pytest.fixture
def pocketsam(monkeypatch, capsys, tmp_path):
    """Runs `pocketsam transmit …` in a folder with photo.png; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: PerfectEngine())
    Image.fromarray(paint(blocks(BOX, size=(SIDE, SIDE)))).save("photo.png")
    return lambda *words: run(monkeypatch, capsys, "transmit", *words)


def test_an_object_is_sent_and_received_again_from_the_file(pocketsam) -> None:
    code, out, _ = pocketsam("photo.png", "--box", "16,8,48,40", "-o", "sent")
    assert code == 0
    assert "regions 25% of it" in out and "PSNR inside the regions" in out
    assert files(Path("sent")) == ["photo.pssc", "photo.received.png"]
    code, out, _ = pocketsam("sent/photo.pssc", "-o", "received")
    assert code == 0
    assert files(Path("received")) == ["photo.received.png"]
    pictures = [np.asarray(Image.open(f"{folder}/photo.received.png")) for folder in ("sent", "received")]
    assert np.array_equal(*pictures)


def test_losses_are_named(pocketsam) -> None:
    code, out, _ = pocketsam("photo.png", "--point", "30,20", "--loss", "1")
    assert code == 0
    assert "3 packets of 3 lost or damaged" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("missing.png",), "missing.png: there is no such file"),
        (("missing.pssc",), "missing.pssc: cannot be read"),
        (("broken.pssc",), "broken.pssc: is no photo that pocketsam transmit wrote"),
        (("photo.png", "--quality", "0"), "quality is 0"),
        (("photo.png", "--codec", "heic"), "there is no codec 'heic'"),
        (("photo.png", "--loss", "2"), "loss is 2.0"),
        (("photo.png", "--point", "500,3"), "500"),
    ],
)
def test_bad_input_is_one_line(pocketsam, words, line: str) -> None:
    Path("broken.pssc").write_bytes(b"nothing")
    code, _, error = pocketsam(*words)
    assert code == 2
    assert line in error and error.count("\n") == 1


def test_prompts_that_find_nothing_are_named(pocketsam, monkeypatch) -> None:
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: EmptyEngine())
    code, _, error = pocketsam("photo.png", "--box", "16,8,48,40")
    assert code == 2
    assert "photo.png: no object found" in error
