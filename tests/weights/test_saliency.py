"""The saliency head inside the package: it belongs to the encoder beside it, and finds the sample photos' objects."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import files, run
from pocketsam.apps.saliency_head import SaliencyHead
from pocketsam.engines.onnx import open_graphs
from pocketsam.zoo import PACKAGED

LARGEST_FILE = 1_000_000


def test_the_head_is_small_and_was_trained_on_this_encoder() -> None:
    assert (PACKAGED / "saliency.onnx").stat().st_size < LARGEST_FILE
    _, config = open_graphs(PACKAGED, 1, ["encoder"])
    assert SaliencyHead(threads=1).config.weights == config.weights  # else: make train-saliency


def test_sample_photos_are_cut_out(
    monkeypatch: pytest.MonkeyPatch, capsys, samples: Path, tmp_path: Path
) -> None:
    code, _, _ = run(
        monkeypatch, capsys, "cutout", samples / "tshirt.jpg", samples / "cap.jpg", "-o", tmp_path
    )
    assert code == 0
    assert files(tmp_path) == ["cap.cutout.png", "tshirt.cutout.png"]
    cut = np.asarray(Image.open(tmp_path / "tshirt.cutout.png")).astype(int)
    orange = (cut[..., 0] > cut[..., 1] + 50) & (cut[..., 0] > cut[..., 2] + 50)
    kept = cut[..., 3] > 127
    assert np.count_nonzero(orange & kept) / np.count_nonzero(orange | kept) > 0.8


def test_a_photo_of_nothing_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), (120, 120, 120)).save(tmp_path / "grey.png")
    code, _, error = run(monkeypatch, capsys, "cutout", tmp_path / "grey.png", "-o", tmp_path / "out")
    assert code == 2
    assert "grey.png: no salient object found" in error and error.count("\n") == 1


def test_a_model_without_a_head_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys, samples: Path, tmp_path: Path
) -> None:
    code, _, error = run(monkeypatch, capsys, "cutout", samples / "cap.jpg", "--model", tmp_path)
    assert code == 2
    assert "has no saliency head" in error and error.count("\n") == 1
