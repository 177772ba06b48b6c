import shutil
from pathlib import Path
from threading import Semaphore

import numpy as np
import pytest
from filelock import FileLock

from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Shards
from pocketsam.embeddings import job as module
from pocketsam.embeddings.job import embed, find_shards
from pocketsam.embeddings.store import EmbeddingStore
from pocketsam.errors import DataError, InputError
from predictors import OneStep
from shards import blocks, jpeg, paint, write_shard, write_tar


class Teacher(OneStep):
    """Its embedding is the brightness of each cell, in each channel a little stronger."""

    config = ModelConfig("tiny", image_size=64, resize="squash", weights=64 * "7")

    def __init__(self, fails_at: int = -1, error: type[BaseException] = KeyboardInterrupt):
        self.encoded, self.fails_at, self.error = 0, fails_at, error

    def encode(self, image):
        if self.encoded == self.fails_at:
            raise self.error
        self.encoded += 1
        cells = image[0].mean(axis=0).reshape(4, 16, 4, 16).mean(axis=(1, 3))
        return (cells * np.linspace(1, 2, 256)[:, None, None])[None].astype(np.float32)


def shard(path: Path, *sides: int) -> Path:
    """A shard with a photo of a square of each size."""
    path.parent.mkdir(exist_ok=True)
    return write_shard(path, {f"{path.stem}-{side}": blocks((0, 0, side, side)) for side in sides})


def contents(store: Path) -> dict[str, bytes]:
    """All files but the hidden ones."""
    return {file.name: file.read_bytes() for file in store.iterdir() if not file.name.startswith(".")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two shards, of three photos and two."""
    shard(tmp_path / "photos" / "a.tar", 10, 20, 30)
    shard(tmp_path / "photos" / "b.tar", 5, 25)
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_every_photo_gets_what_the_teacher_makes_of_it(photos: Path, store: Path) -> None:
    steps, outcomes = [], []
    summary = embed(Teacher(), photos, store, after_photo=steps.append, after_shard=outcomes.append)
    assert (summary.photos, summary.embedded, summary.rebuilt, summary.busy) == (5, 5, [], [])
    assert summary.bytes == sum((store / f"{name}.tar").stat().st_size for name in "ab")
    assert summary.outcomes == tuple(outcomes) and [one.photos for one in outcomes] == [3, 2]
    assert (steps[-1].photos, steps[-1].done, steps[-1].embedded) == (5, 5, 5) and summary.rate > 0
    assert sorted(contents(store)) == ["a.jsonl", "a.tar", "b.jsonl", "b.tar", "store.json"]
    entries, reader = Shards(photos), EmbeddingStore(store)
    reader.check(Teacher.config, 16)
    assert reader.missing(entries) == []
    read = [reader.read(entry) for entry in entries]
    for i, entry in enumerate(entries):
        tensor = module.preprocess(entries.read(i).image, Teacher.config)
        np.testing.assert_allclose(reader.read(entry), Teacher().encode(tensor)[0], rtol=1e-3)
    assert all(abs(a - b).max() > 0.1 for i, a in enumerate(read) for b in read[:i])


def test_a_folder_of_photos_without_masks_is_embedded_under_its_name(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "holiday.2024"
    folder.mkdir()
    (folder / "x.jpg").write_bytes(jpeg(paint(blocks((0, 0, 9, 9)))))
    assert embed(Teacher(), [folder, f"{folder}/../holiday.2024"], store, bits=8).photos == 1
    assert (store / "holiday.2024.tar").exists()
    (entry,) = Shards(folder, labelled=False)
    assert EmbeddingStore(store).read(entry).shape == (256, 4, 4)


def test_what_is_whole_is_left_as_it_is(photos: Path, store: Path) -> None:
    embed(Teacher(), photos / "a.tar", store)
    before, teacher = contents(store), Teacher()
    times = {file: file.stat().st_mtime_ns for file in store.glob("a.*")}
    summary = embed(teacher, photos, store)
    assert (summary.photos, summary.embedded, teacher.encoded) == (5, 2, 2)
    assert before.items() <= contents(store).items()
    assert {file: file.stat().st_mtime_ns for file in store.glob("a.*")} == times


@pytest.mark.parametrize("after", range(5))
def test_an_interrupted_job_goes_on_to_the_same_bytes(photos: Path, store: Path, after: int) -> None:
    embed(Teacher(), photos, store)
    expected = contents(store)
    shutil.rmtree(store)
    with pytest.raises(KeyboardInterrupt):
        embed(Teacher(fails_at=after), photos, store)
    teacher, steps = Teacher(), []
    summary = embed(teacher, photos, store, after_photo=steps.append)
    assert (summary.photos, summary.embedded, teacher.encoded) == (5, 5 - after, 5 - after)
    assert (steps[-1].done, steps[-1].embedded) == (5, 5 - after)
    assert contents(store) == expected


@pytest.mark.parametrize(
    "damage", ["tar flipped", "tar cut", "tar gone", "index flipped", "index gone", "both cut"]
)
def test_a_damaged_shard_is_named_and_rebuilt(photos: Path, store: Path, damage: str) -> None:
    embed(Teacher(), photos, store)
    expected = contents(store)
    for file in (store / "a.tar", store / "a.jsonl"):
        what = {"a.tar": "tar", "a.jsonl": "index"}[file.name]
        whole = bytearray(file.read_bytes())
        if damage in (f"{what} cut", "both cut"):
            file.write_bytes(whole[: len(whole) // 2])
        elif damage == f"{what} flipped":
            whole[len(whole) // 2] ^= 1
            file.write_bytes(whole)
        elif damage == f"{what} gone":
            file.unlink()
    said, teacher = [], Teacher()
    summary = embed(teacher, photos, store, say=said.append)
    assert contents(store) == expected
    assert 0 < teacher.encoded == summary.embedded <= 3
    (line,), (reason,) = said, summary.rebuilt
    assert reason.startswith(f"{store}/a.") and line == f"{reason}; the shard is rebuilt from there on"


def test_a_shard_whose_photos_changed_is_rebuilt_from_there(photos: Path, store: Path) -> None:
    embed(Teacher(), photos, store)
    write_shard(
        photos / "a.tar", {f"a-{side}": blocks((0, 0, side, side), (3, 3, 9, 9)) for side in (10, 20)}
    )
    changed = Shards(photos / "a.tar")
    assert EmbeddingStore(store).missing(changed) == list(changed)
    summary = embed(Teacher(), photos, store)
    assert summary.rebuilt == [f"{store / 'a.tar'}: a-10 has changed since it was embedded"]
    assert (summary.photos, summary.embedded) == (4, 2)
    assert EmbeddingStore(store).missing(changed) == []


def test_a_photo_that_joins_a_folder_is_embedded_alone(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "xyz":
        (folder / f"{name}.jpg").write_bytes(jpeg(paint(blocks((0, 0, 9, 9)))))
        assert embed(Teacher(), folder, store).embedded == 1


def test_a_shard_of_another_process_is_left_to_it(photos: Path, store: Path) -> None:
    embed(Teacher(), photos / "b.tar", store)
    with FileLock(store / ".a.lock"):
        summary = embed(Teacher(), photos, store)
        assert summary.busy == [photos / "a.tar"]
        assert (summary.photos, summary.embedded) == (2, 0)
        assert not list(store.glob("a.*"))
    assert embed(Teacher(), photos, store).embedded == 3


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        (ModelConfig("other", 64, "squash", weights=64 * "8"), 16),
        (ModelConfig("tiny", 128, "squash", weights=64 * "7"), 16),
        (Teacher.config, 8),
    ],
)
def test_another_teacher_or_size_leaves_the_store_alone(
    photos: Path, store: Path, monkeypatch, config: ModelConfig, bits: int
) -> None:
    embed(Teacher(), photos / "a.tar", store)
    before, teacher = contents(store), Teacher()
    monkeypatch.setattr(teacher, "config", config, raising=False)
    with pytest.raises(DataError) as error:
        embed(teacher, photos, store, bits)
    line, size = str(error.value), config.image_size
    assert "tiny (weights 77777777) at 64 × 64, squash, 16 bits, not of" in line
    assert f"{config.name} (weights {config.weights[:8]}) at {size} × {size}, squash, {bits} bits" in line
    assert contents(store) == before and teacher.encoded == 0


def test_two_shards_of_one_name_are_refused(tmp_path: Path, store: Path) -> None:
    first, second = shard(tmp_path / "1" / "a.tar", 10), shard(tmp_path / "2" / "a.tar", 20)
    with pytest.raises(DataError) as error:
        embed(Teacher(), [first, second], store)
    assert str(error.value).startswith(f"{second}: has the same name as {first}, ")
    assert not store.exists()
    assert [one.path for one in find_shards([first, first, tmp_path / "1"])] == [first]


def test_two_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("x.jpg", "x.png"):
        (tmp_path / name).write_bytes(jpeg(paint(blocks((0, 0, 9, 9)))))
    with pytest.raises(
        DataError, match=r"x\.png: has the same name as .*x\.jpg, but for its ending; rename one"
    ):
        find_shards(tmp_path)


def test_a_shard_without_photos_is_named_among_others(photos: Path, store: Path) -> None:
    write_tar(photos / "empty.tar", [("note.txt", b"nothing")])
    for paths in (photos, [photos / "a.tar", photos / "empty.tar"]):
        with pytest.raises(DataError, match=r"empty\.tar: no photo"):
            embed(Teacher(), paths, store)
    assert not store.exists()


def test_embeddings_are_not_written_over_photos(photos: Path, store: Path) -> None:
    with pytest.raises(DataError, match="photos: is not empty and no store of embeddings"):
        embed(Teacher(), photos, photos)
    embed(Teacher(), photos / "b.tar", store)
    inside = shard(store / "c.tar", 10)
    with pytest.raises(DataError, match=r"c\.tar: lies in the store itself"):
        embed(Teacher(), inside, store)
    assert len(Shards(inside)) == 1


def test_a_photo_that_cannot_be_decoded_is_named_and_the_others_kept(tmp_path: Path, store: Path) -> None:
    good = jpeg(paint(blocks((0, 0, 9, 9))))
    path = write_tar(tmp_path / "a.tar", [("good.jpg", good), ("bad.jpg", b"no photo"), ("last.jpg", good)])
    with pytest.raises(
        DataError, match=r"a\.tar: bad: its photo cannot be decoded; .* fetch it again, or take it out"
    ):
        embed(Teacher(), path, store)
    write_tar(path, [("good.jpg", good), ("last.jpg", good)])
    assert embed(Teacher(), path, store).embedded == 1


def test_an_embedding_that_holds_nan_names_its_photo(photos: Path, store: Path, monkeypatch) -> None:
    encode = Teacher.encode
    monkeypatch.setattr(
        Teacher, "encode", lambda self, image: encode(self, image) * (np.nan if self.encoded == 2 else 1)
    )
    with pytest.raises(DataError, match="a: a-20: its embedding holds NaN or infinite numbers"):
        embed(Teacher(), photos, store)


def test_a_full_disk_is_one_line_and_the_same_call_goes_on(photos: Path, store: Path, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pocketsam.embeddings.store.os.fsync", full)
        with pytest.raises(
            InputError, match=r"a\.tar: cannot be written \(No space left on device\); what is"
        ):
            embed(Teacher(), photos, store)
    assert embed(Teacher(), photos, store).embedded == 2  # those of b: all of a were kept


class Waiting(Teacher):
    """Encodes nothing before the next photo is read."""

    def __init__(self, photos: int, read: Semaphore):
        super().__init__()
        self.photos, self.read = photos, read

    def encode(self, image):
        if self.encoded + 1 < self.photos:
            assert self.read.acquire(timeout=20)
        assert not self.read.acquire(timeout=0.05)  # one ahead, never two: photos do not gather in memory
        return super().encode(image)


def test_one_photo_is_read_while_the_one_before_is_encoded(tmp_path: Path, store: Path, monkeypatch) -> None:
    ready, first, preprocess = Semaphore(0), [], module.preprocess

    def note(*args):
        tensor = preprocess(*args)
        if first:
            ready.release()
        first.append(True)
        return tensor

    monkeypatch.setattr(module, "preprocess", note)
    path = shard(tmp_path / "a.tar", 10, 20, 30, 35)
    assert embed(Waiting(4, ready), path, store).embedded == 4
