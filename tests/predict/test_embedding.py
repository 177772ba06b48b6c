"""Embeddings as files: what comes back is what was saved, and nothing else is taken for it."""

import re
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pocketsam import Segmenter
from pocketsam.config import ModelConfig
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import InputError
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import digest
from pocketsam.predict.embedding import Embedding, load_embedding, photo_mark

MODEL = ModelConfig("small", 64, "squash", weights="ab" * 32)
PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def embedding(**changes) -> Embedding:
    values = np.random.default_rng(1).normal(size=(1, 256, 4, 4)).astype(np.float32)
    return replace(Embedding(values, 30, 40, "a.jpg", photo_mark(PHOTO), MODEL), **changes)


@pytest.fixture
def path(tmp_path):
    """A file with an embedding of PHOTO."""
    embedding().save(tmp_path / "a.npz")
    return tmp_path / "a.npz"


@pytest.fixture
def segmenter(engine):
    """The fake engine, whose embeddings tell photos apart."""
    engine.encode = lambda image: np.full((1, 256, 4, 4), image.mean() / 256, np.float32)
    return Segmenter(engine=engine)


def refusal(path, model=MODEL) -> str:
    with pytest.raises(InputError) as error:
        load_embedding(path, model)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def rewrite(path, **changes) -> None:
    """Saves the file again with other members, or without those that are None."""
    with np.load(path) as file:
        members = {**file, **changes}
    np.savez(path, **{name: value for name, value in members.items() if value is not None})


def test_what_is_saved_comes_back(path):
    saved, loaded = embedding(), load_embedding(path, MODEL)
    np.testing.assert_array_equal(loaded.values, saved.values.astype(np.float16))
    assert loaded.values.dtype == np.float32
    for field in ("height", "width", "name", "photo", "model"):
        assert getattr(loaded, field) == getattr(saved, field)


def test_numpy_alone_can_read_the_file(path):
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file) == ["embedding", "height", "model", "name", "photo", "width"]
    assert path.stat().st_size < 256 * 4 * 4 * 2 + 4400


def test_a_photos_mark_is_of_its_pixels_alone():
    assert photo_mark(PHOTO[:, ::-1]) == photo_mark(PHOTO[:, ::-1].copy())
    changed = PHOTO.copy()
    changed[29, 39, 2] ^= 1
    assert photo_mark(changed) != photo_mark(PHOTO)


def test_a_photo_is_prompted_from_its_embedding_without_its_pixels(segmenter, samples, tmp_path):
    photo = segmenter.open(samples / "cap.jpg")
    path = photo.save_embedding(tmp_path / "new" / "cap.npz")
    segmenter.engine.encode = None  # nothing is encoded any more
    again = segmenter.open(embedding=path)
    assert again.image is None
    assert (again.name, again.geometry) == ("cap.jpg", photo.geometry)
    ours, theirs = again.segment(boxes=(100, 100, 300, 400)), photo.segment(boxes=(100, 100, 300, 400))
    np.testing.assert_array_equal(ours.binary, theirs.binary)
    assert ours.save(tmp_path / "cap.json")
    with pytest.raises(InputError, match=r"cap\.jpg: these masks carry no photo"):
        ours.save(tmp_path / "cap.overlay.jpg")
    with pytest.raises(InputError, match="outside the photo of 400 × 534 pixels"):
        again.segment(points=(400, 10))


def test_with_the_photo_it_saves_the_encoder(segmenter, samples, tmp_path):
    photo = segmenter.open(samples / "cap.jpg")
    path = photo.save_embedding(str(tmp_path / "cap.npz"))
    segmenter.engine.encode = None
    again = segmenter.open(Image.open(samples / "cap.jpg"), embedding=str(path))
    np.testing.assert_allclose(again.embedding, photo.embedding, rtol=1e-3)
    assert again.segment(points=(200, 200)).overlay().shape == (534, 400, 3)


def test_it_can_be_saved_again_without_the_photo(segmenter, samples, tmp_path):
    first = segmenter.open(samples / "cap.jpg").save_embedding(tmp_path / "1.npz")
    second = segmenter.open(embedding=first).save_embedding(tmp_path / "2.npz")
    segmenter.open(samples / "cap.jpg", embedding=second)
    assert first.read_bytes() == second.read_bytes()


def test_a_photo_or_an_embedding_is_needed(segmenter):
    with pytest.raises(InputError, match="there is no photo: give one, or the embedding of one, or both"):
        segmenter.open()


def test_the_embedding_of_another_photo_is_refused_with_both_marks(segmenter, samples, tmp_path):
    path = segmenter.open(samples / "cap.jpg").save_embedding(tmp_path / "cap.npz")
    with pytest.raises(InputError) as error:
        segmenter.open(samples / "tshirt.jpg", embedding=path)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: was made of another photo, cap\.jpg [0-9a-f]{{12}}, not of .*tshirt\.jpg"
        r" [0-9a-f]{12}; open that photo, or save it again with this one",
        str(error.value),
    )


def test_the_same_pixels_in_another_shape_are_another_photo(segmenter, tmp_path):
    path = segmenter.open(PHOTO).save_embedding(tmp_path / "a.npz")
    with pytest.raises(InputError, match="was made of another photo"):
        segmenter.open(PHOTO.reshape(40, 30, 3), embedding=path)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "cd" * 32},
        {"numerics": "w7a8-0123"},
        {"image_size": 128},
        {"resize": "pad"},
        {"resampling": "plain"},
        {"mean": (0.0, 0.0, 0.0)},
        {"name": "another", "weights": ""},
    ],
)
def test_the_embedding_of_another_model_is_refused_with_both_marks(path, change):
    message = refusal(path, replace(MODEL, **change))
    marks = re.search(
        r"made by the model small (\w{12}), not by (small|another) (\w{12})( \(w7a8-0123\))?; use that",
        message,
    )
    assert marks and marks[1] != marks[3]


@pytest.mark.parametrize(
    "change", [{"name": "renamed"}, {"licence": "MIT"}, {"weights": ""}, {"numerics": "float16"}]
)
def test_what_does_not_shape_an_embedding_is_no_other_model(path, change):
    load_embedding(path, replace(MODEL, **change))


def test_a_missing_file_is_named(tmp_path):
    assert refusal(tmp_path / "no.npz").endswith("there is no such file; check the path")
    assert refusal(tmp_path).endswith("there is no such file; check the path")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "is damaged, or not what save_embedding writes (" in refusal(path)


def test_a_flipped_bit_is_refused(path):
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    assert "is damaged" in refusal(path)


def foreign() -> dict[str, bytes]:
    files = {"text": b"not an embedding", "zip": BytesIO(), "npy": BytesIO(), "masks": BytesIO()}
    with zipfile.ZipFile(files["zip"], "w") as archive:
        archive.writestr("embedding.npy", b"\x93NUMPY\x01\x00")
    np.save(files["npy"], np.zeros((1, 256, 4, 4), np.float16))
    np.savez(files["masks"], logits=np.zeros((1, 16, 16)))
    return {name: file if isinstance(file, bytes) else file.getvalue() for name, file in files.items()}


@pytest.mark.parametrize("kind", ["text", "zip", "npy", "masks"])
def test_foreign_files_are_refused(path, kind):
    path.write_bytes(foreign()[kind])
    assert "is damaged, or not what save_embedding writes (" in refusal(path)


class Boom:
    """Would say so if it were ever unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": np.array([Boom()], object)}, "Object arrays cannot be loaded"),
        ({"name": np.array(Boom(), object)}, "Object arrays cannot be loaded"),
        ({"embedding": np.zeros((1, 256, 4, 4), np.float32)}, "it holds float32, not float16"),
        (
            {"embedding": np.zeros((1, 256, 8, 8), np.float16)},
            "has the shape (1, 256, 8, 8), this model's is",
        ),
        ({"embedding": np.zeros(0, np.float16)}, "has the shape (0,), this model's is (1, 256, 4, 4)"),
        ({"embedding": np.full((1, 256, 4, 4), np.nan, np.float16)}, "holds NaN or infinite numbers"),
        ({"embedding": np.full((1, 256, 4, 4), np.inf, np.float16)}, "holds NaN or infinite numbers"),
        ({"height": np.int64(0)}, "its photo is said to be 40 × 0 pixels"),
        ({"width": np.int64(10**9)}, "its photo is said to be 1000000000 × 30 pixels"),
        ({"height": np.array([1, 2])}, "is damaged, or not what save_embedding writes"),
        ({"photo": None}, "is damaged, or not what save_embedding writes"),
        ({"model": np.str_("{}")}, "are needed"),
        ({"model": np.str_("[" * 100_000)}, "is damaged, or not what save_embedding writes"),
    ],
)
def test_files_with_other_contents_are_refused(path, changes, message):
    rewrite(path, **changes)
    assert message in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_could_not_be_read_again_is_not_written(path, value):
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.npz: not written; this embedding holds NaN, or numbers beyond"):
        embedding(values=np.full((1, 256, 4, 4), value, np.float32)).save(path)
    assert path.read_bytes() == before


def test_an_unwritable_place_is_named(segmenter, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/a\.npz: cannot be written"):
        segmenter.open(PHOTO).save_embedding(tmp_path / "file" / "a.npz")


def test_what_one_engine_saves_another_uses(tmp_path):
    sam = build("patches", 64)
    config = replace(MODEL, weights=digest(sam.state_dict()))
    export_onnx(sam, config, tmp_path)
    one, other = (Segmenter(engine=e) for e in (TorchEngine(sam, config), OnnxEngine(tmp_path)))
    path = one.open(PHOTO).save_embedding(tmp_path / "a.npz")
    ours, theirs = other.open(PHOTO, embedding=path), other.open(PHOTO)
    assert np.abs(ours.embedding - theirs.embedding).max() < 2e-3 * np.abs(theirs.embedding).max()
    np.testing.assert_array_equal(
        ours.segment(points=(20, 15)).binary, other.open(embedding=path).segment(points=(20, 15)).binary
    )


def test_half_precision_keeps_the_masks(samples, tmp_path):
    segmenter = Segmenter(engine="onnx")
    photo = segmenter.open(samples / "tshirt.jpg")
    again = segmenter.open(embedding=photo.save_embedding(tmp_path / "tshirt.npz"))
    boxes = [(61, 20, 446, 382), (200, 100, 400, 300), (30, 30, 200, 200)]
    ours, theirs = again.segment(boxes=boxes).binary, photo.segment(boxes=boxes).binary
    assert np.count_nonzero(ours & theirs) >= 0.995 * np.count_nonzero(ours | theirs)
