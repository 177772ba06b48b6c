"""`pocketsam models`: what it lists, with and without files on disk."""

import pytest
from typer.testing import CliRunner

from pocketsam.cli.app import app
from pocketsam.zoo import MODELS, PACKAGED


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Runs the command; the cells of each model's row, by its name, and the lines below the table."""
    monkeypatch.setenv("POCKETSAM_HOME", str(tmp_path))

    def run():
        done = CliRunner().invoke(app, ["models"])
        assert done.exit_code == 0
        cells = [line.split() for line in done.stdout.splitlines()]
        return {line[0]: line[1:] for line in cells if line and line[0] in MODELS}, done.stdout

    return run


def test_every_model_has_a_row_without_a_network(rows, monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing should be fetched")

    monkeypatch.setattr("pocketsam.utils.fetch.fetch", refuse)
    found, _ = rows()
    size = f"{sum(file.stat().st_size for file in PACKAGED.glob('*.onnx')) / 1e6:.1f}"
    assert list(found) == list(MODELS)
    assert found["sam_vit_b"] == ["93.7", "M", "1024²", "375.0", "Apache-2.0", "no"]
    assert found["tinysam"] == ["9.8", "M", "1024²", "?", "Apache-2.0", "no"]
    assert found["pocket"] == ["9.2", "M", "512²", size, "Apache-2.0", "in", "the", "package"]


def test_what_is_on_disk_is_shown_with_its_place_and_its_true_size(rows, tmp_path):
    (tmp_path / "tinysam_42.3.pth").write_bytes(bytes(1_500_000))
    (tmp_path / "mobile_sam").mkdir()
    (tmp_path / "mobile_sam" / "mobile_sam.pt").write_bytes(bytes(200_000))
    (tmp_path / "slimsam_77").mkdir()
    (tmp_path / "slimsam_77" / "encoder.onnx").write_bytes(bytes(2_000_000))
    for part in ("prepare", "predict_iou", "masks"):
        (tmp_path / "slimsam_77" / f"decoder_{part}.onnx").write_bytes(bytes(500_000))
    found, _ = rows()
    assert found["tinysam"][-3:] == ["1.5", "Apache-2.0", "tinysam_42.3.pth"]
    assert found["mobile_sam"][-3:] == ["0.2", "Apache-2.0", "mobile_sam/mobile_sam.pt"]
    assert found["slimsam_77"][-3:] == ["3.5", "Apache-2.0", "slimsam_77"]


def test_the_end_says_how_to_use_one_and_where_files_are_kept(rows, tmp_path):
    *_, use, place = rows()[1].splitlines()
    assert "pocketsam segment PHOTO --point X,Y --model mobile_sam" in use
    assert str(tmp_path) in place
