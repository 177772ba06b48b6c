import re
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from commands import files, run
from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Shards
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import save_model
from predictors import OneStep
from shards import blocks, write_shard, write_tar


class Teacher(OneStep):
    """Its embedding is the photo's brightness."""

    config = ModelConfig("tiny", image_size=64, resize="squash", weights=64 * "7")
    ends_at = -1

    def __init__(self):
        self.encoded = 0

    def encode(self, image):
        if self.encoded == self.ends_at:
            raise KeyboardInterrupt
        self.encoded += 1
        return np.full((1, 256, 4, 4), image.mean(), np.float32)


@pytest.fixture
def teacher(monkeypatch, tmp_path) -> Teacher:
    """The engine that the command opens; the test runs in a folder with two shards."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, sides in (("a", (10, 20, 30)), ("b", (5, 25))):
        write_shard(
            Path(f"photos/{name}.tar"), {f"{name}-{side}": blocks((0, 0, side, side)) for side in sides}
        )
    teacher = Teacher()
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: teacher)
    monkeypatch.setattr("pocketsam.embeddings.teacher.locate_teacher", lambda model: (Path(model), None))
    return teacher


@pytest.fixture
def pocketsam(monkeypatch, capsys, teacher):
    """Runs `pocketsam embed … --teacher pocket -o store`; gives exit code, stdout, stderr."""
    return lambda *words: run(monkeypatch, capsys, "embed", *words, "--teacher", "pocket", "-o", "store")


def visible() -> list[str]:
    return [name for name in files(Path("store")) if not name.startswith(".")]


def test_it_says_where_the_store_is_and_what_it_holds(pocketsam):
    code, out, err = pocketsam("photos")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"store: 5 photos, 9\.6 kB a photo, 48\.1 kB in all; 5 embedded now, \d+\.\d photos/s\n", out
    )
    assert visible() == ["a.jsonl", "a.tar", "b.jsonl", "b.tar", "store.json"]
    assert EmbeddingStore("store").missing(Shards("photos")) == []
    assert pocketsam("photos") == (0, "store: 5 photos, 9.6 kB a photo, 48.1 kB in all\n", "")


def test_eight_bits_take_half_the_room(pocketsam):
    assert pocketsam("photos", "--bits", "8")[0] == 0
    assert EmbeddingStore("store").signature.bits == 8
    code, out, err = pocketsam("photos")
    assert (code, out) == (2, "")
    assert err == (
        "pocketsam: store: holds embeddings of tiny (weights 77777777) at 64 × 64, squash, 8 bits, not of tiny"
        " (weights 77777777) at 64 × 64, squash, 16 bits; they differ in: bits; use what it was made with, or"
        " another store\n"
    )


def test_ctrl_c_says_that_the_same_command_goes_on(pocketsam, teacher):
    teacher.ends_at = 4
    code, out, err = pocketsam("photos")
    assert (code, out) == (130, "")
    assert err == "pocketsam: stopped; 4 of 5 photos are done; the same command resumes there\n"
    assert visible() == ["a.jsonl", "a.tar", "b.jsonl.part", "b.tar.part", "store.json"]
    teacher.ends_at = -1
    assert "; 1 embedded now, " in pocketsam("photos")[1]


def test_damage_is_told_and_mended(pocketsam):
    pocketsam("photos")
    Path("store/b.tar").write_bytes(Path("store/b.tar").read_bytes()[:-9])
    code, out, err = pocketsam("photos")
    assert (code, err) == (
        0,
        "pocketsam: store/b.tar: does not end where it should; the shard is rebuilt from there on\n",
    )
    assert out == "store: 5 photos, 9.6 kB a photo, 48.1 kB in all; 1 shard rebuilt\n"


def test_shards_of_other_processes_are_told(pocketsam):
    pocketsam("photos/b.tar")
    with FileLock("store/.a.lock"):
        code, out, err = pocketsam("photos")
    assert (code, err) == (0, "")
    assert out == (
        "store: 2 photos, 9.7 kB a photo, 19.5 kB in all; 1 shard left to other processes: photos/a.tar\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("photos", "nowhere"), "nowhere: there is no such file or folder; check the path"),
        (("empty.tar", "photos"), "empty.tar: no photo"),
        (("broken.tar",), "broken.tar: x: its photo cannot be decoded"),
        (("photos", "--bits", "12"), "bits is 12; an embedding is stored with 16 or 8"),
        (("photos", "photos/other/a.tar"), "photos/other/a.tar: has the same name as photos/a.tar"),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(pocketsam, words, message):
    write_tar(Path("empty.tar"), [])
    write_tar(Path("broken.tar"), [("x.jpg", b"no photo")])
    Path("photos/other").mkdir()
    write_shard(Path("photos/other/a.tar"), {"x": blocks((0, 0, 9, 9))})
    code, out, err = pocketsam(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"pocketsam: {message}") and err.count("\n") == 1


def test_a_store_that_cannot_be_one_is_named(monkeypatch, capsys, teacher):
    for store, message in (
        ("photos/a.tar", "photos/a.tar: cannot be written to; give a folder"),
        ("photos", "photos: is not empty and no store of embeddings; give a folder of its own"),
    ):
        code, _, err = run(monkeypatch, capsys, "embed", "photos", "--teacher", "pocket", "-o", store)
        assert code == 2 and err.startswith(f"pocketsam: {message}") and err.count("\n") == 1
    assert not teacher.encoded


def test_a_teacher_has_to_be_named(monkeypatch, capsys, teacher):
    code, _, err = run(monkeypatch, capsys, "embed", "photos", "-o", "store")
    assert code == 2 and "--teacher" in err


def test_a_model_in_a_folder_can_be_a_teacher(monkeypatch, capsys, tmp_path, samples):
    monkeypatch.chdir(tmp_path)
    Path("one").mkdir()
    (Path("one") / "cap.jpg").write_bytes((samples / "cap.jpg").read_bytes())
    save_model(Path("large/model.safetensors"), build("patches", 128).state_dict(), ModelConfig("large", 128))
    words = ("one", "--teacher", "large", "-o", "store", "--engine", "torch")
    code, out, err = run(monkeypatch, capsys, "embed", *words)
    assert (code, err) == (0, "")
    assert out.startswith("store: 1 photo, ")
    store = EmbeddingStore("store")
    assert store.signature.name == "large" and len(store.signature.weights) == 64
    (entry,) = Shards("one", labelled=False)
    assert store.read(entry).shape == store.signature.shape == (256, 8, 8)


def test_a_teacher_without_weights_is_refused_before_the_work(monkeypatch, capsys, tmp_path, samples):
    """Training a student from it would be refused hours later."""
    monkeypatch.chdir(tmp_path)
    export_onnx(build("patches", 64), ModelConfig("onnx-only", 64), Path("onnx-only"))
    code, out, err = run(monkeypatch, capsys, "embed", samples, "--teacher", "onnx-only", "-o", "store")
    assert (code, out) == (2, "")
    assert err.startswith(
        "pocketsam: onnx-only: holds no model.safetensors, and a student needs its teacher's"
    )
    assert err.count("\n") == 1 and not Path("store").exists()
