import os

import numpy as np
import onnxruntime as ort
import pytest

from pocketsam.engines import optimised
from pocketsam.engines.optimised import SessionSettings, open_session

SETTINGS = SessionSettings(threads=1)


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """The paths of what is in an own cache."""
    monkeypatch.setenv("POCKETSAM_HOME", str(tmp_path / "home"))
    return lambda: sorted((tmp_path / "home" / "optimised").iterdir())


@pytest.fixture
def encoder(tmp_path, folder):
    """An encoder's file in a place of its own."""
    file = tmp_path / "encoder.onnx"
    file.write_bytes((folder / "encoder.onnx").read_bytes())
    return file


def embed(session: ort.InferenceSession) -> bytes:
    image = np.random.default_rng(0).random(session.get_inputs()[0].shape, np.float32)
    return session.run(None, {"image": image})[0].tobytes()


def test_the_second_opening_reads_what_the_first_one_stored_and_computes_the_same(encoder, stored):
    plain = ort.InferenceSession(encoder, SETTINGS.options())
    first, (file,) = open_session(encoder, SETTINGS), stored()
    content = file.read_bytes()
    second = open_session(encoder, SETTINGS)
    assert second._model_path == str(file) != first._model_path
    assert embed(second) == embed(first) == embed(plain)
    assert second.get_modelmeta().custom_metadata_map == plain.get_modelmeta().custom_metadata_map
    assert (stored(), file.read_bytes()) == ([file], content)


@pytest.mark.parametrize("change", ["file", "objects", "processor"])
def test_another_file_processor_or_number_of_prompts_has_a_graph_of_its_own(
    encoder, stored, monkeypatch, change
):
    open_session(encoder, SETTINGS)
    if change == "file":
        os.utime(encoder, ns=(1, 1))
    if change == "processor":
        monkeypatch.setattr(optimised, "description", lambda: "another")
    open_session(encoder, SessionSettings(1, objects=2) if change == "objects" else SETTINGS)
    assert len(stored()) == 2


def test_a_damaged_stored_graph_is_replaced(encoder, stored):
    expected = embed(open_session(encoder, SETTINGS))
    (file,) = stored()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert embed(open_session(encoder, SETTINGS)) == expected
    assert file.read_bytes() == whole


def test_nothing_is_stored_where_nothing_can_be_written(encoder, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file, where a folder would have to be")
    monkeypatch.setenv("POCKETSAM_HOME", str(tmp_path / "home"))
    assert embed(open_session(encoder, SETTINGS))


def test_large_files_are_not_stored(encoder, stored, monkeypatch):
    monkeypatch.setattr(optimised, "LARGEST", 10)
    open_session(encoder, SETTINGS)
    with pytest.raises(FileNotFoundError):
        stored()


def test_a_file_that_is_no_graph_leaves_nothing_behind(encoder, stored):
    encoder.write_bytes(b"no graph")
    with pytest.raises(Exception, match="encoder"):
        open_session(encoder, SETTINGS)
    assert stored() == []


def test_where_there_is_no_room_nothing_is_left_behind(encoder, stored, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    assert embed(open_session(encoder, SETTINGS))
    assert stored() == []


@pytest.mark.parametrize("error", [PermissionError, RuntimeError])
def test_where_nobody_can_tell_where_the_cache_is_the_file_is_opened(encoder, monkeypatch, error):
    def unknown():
        raise error

    monkeypatch.setattr(optimised, "home", unknown)
    assert embed(open_session(encoder, SETTINGS))


def test_a_cache_that_can_only_be_read_is_read(encoder, stored, monkeypatch):
    open_session(encoder, SETTINGS)
    (file,) = stored()

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr("os.utime", refused)
    assert open_session(encoder, SETTINGS)._model_path == str(file)


def test_a_graph_with_numbers_in_a_second_file_is_opened_as_it_is(encoder, stored):
    (encoder.parent / "encoder-0123.onnx.data").touch()
    assert open_session(encoder, SETTINGS)._model_path == str(encoder)
    with pytest.raises(FileNotFoundError):
        stored()


def test_the_graphs_that_were_used_last_are_kept(encoder, stored, monkeypatch):
    one, two, three = (SessionSettings(1, objects) for objects in (1, 2, 3))
    open_session(encoder, one)
    (first,) = stored()
    open_session(encoder, two)
    (second,) = {*stored()} - {first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    monkeypatch.setattr(optimised, "ROOM", 2.5 * first.stat().st_size)
    open_session(encoder, one)  # used again
    open_session(encoder, three)
    assert first.exists() and not second.exists()
    assert len(stored()) == 2
