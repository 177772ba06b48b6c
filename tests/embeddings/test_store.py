import json
import pickle
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from pocketsam.config import ModelConfig
from pocketsam.data.sa1b import Entry, Span
from pocketsam.embeddings import store as embeddings
from pocketsam.embeddings import writer as embedding_writer
from pocketsam.embeddings.store import EmbeddingStore, Signature
from pocketsam.embeddings.writer import ShardWriter, create_store, find_trouble
from pocketsam.errors import DataError, InputError

TEACHER = ModelConfig("tiny", image_size=64, resize="squash", weights="3f2a91c4" + 56 * "0")
PHOTOS = [("one", 100), ("two", 200), ("three", 300)]
VALUES = {
    name: np.random.default_rng(seed).normal(0, 3, (256, 4, 4)).astype(np.float32)
    for seed, (name, _) in enumerate(PHOTOS)
}


def entry(name: str, size: int, shard: str = "photos/a.tar") -> Entry:
    return Entry(name, Span(Path(shard), 0, size), None)


ENTRIES = [entry(*photo) for photo in PHOTOS]


def fill(store: Path, bits: int = 16, shard: str = "a") -> Path:
    """A store with the embeddings of the photos; a shard that was begun is gone on with."""
    signature = Signature.of(TEACHER, bits)
    create_store(store, signature)
    with ShardWriter(store, shard, signature, PHOTOS) as writer:
        for name, size in PHOTOS[writer.done :]:
            writer.add(name, size, VALUES[name])
        writer.finish()
    return store


@pytest.fixture(params=[16, 8])
def bits(request) -> int:
    return request.param


@pytest.fixture
def store(tmp_path: Path, bits: int) -> Path:
    return fill(tmp_path / "store", bits)


def test_embeddings_come_back_within_half_a_step(store: Path, bits: int) -> None:
    reader = EmbeddingStore(store)
    for one in reversed(ENTRIES):
        read, true = reader.read(one), VALUES[one.name]
        assert (read.dtype, read.shape) == (np.float32, (256, 4, 4))
        if bits == 16:
            step = np.spacing(abs(true).astype(np.float16)).astype(np.float32)
        else:
            step = abs(true).max(axis=(1, 2), keepdims=True) / 127
        assert (abs(read - true) <= step / 2 * 1.0001).all()
        assert abs(read - true).max() > 0


def test_any_reader_of_tars_and_arrays_finds_them(store: Path, bits: int) -> None:
    with tarfile.open(store / "a.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
        assert all(member.mtime == 0 for member in tar.getmembers())
    endings = (".npy",) if bits == 16 else (".npy", ".scale.npy")
    assert list(files) == [name + ending for name, _ in PHOTOS for ending in endings]
    array = np.load(BytesIO(files["two.npy"]))
    assert (array.dtype, array.shape) == ({16: np.float16, 8: np.int8}[bits], (256, 4, 4))
    (_, line, _) = (store / "a.jsonl").read_text().splitlines()
    assert (json.loads(line)["name"], json.loads(line)["bytes"]) == ("two", 200)


def test_numbers_beyond_float16_are_clipped_and_channels_of_zeros_stay_zeros(
    tmp_path: Path, bits: int
) -> None:
    values = np.zeros((256, 4, 4), np.float32)
    values[0], values[1, 0, 0] = 1e6, -1e38
    signature = Signature.of(TEACHER, bits)
    create_store(tmp_path, signature)
    with ShardWriter(tmp_path, "a", signature, PHOTOS[:1]) as writer:
        writer.add("one", 100, values)
        writer.finish()
    read = EmbeddingStore(tmp_path).read(ENTRIES[0])
    expected = (65504, -65504) if bits == 16 else (1e6, -1e38)
    np.testing.assert_allclose((read[0, 2, 2], read[1, 0, 0]), expected, rtol=1e-6)
    assert not read[2:].any() and not read[1, 1:].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_and_the_photo_named(tmp_path: Path, value: float, bits: int) -> None:
    values = VALUES["two"].copy()
    values[7, 1, 1] = value
    signature = Signature.of(TEACHER, bits)
    create_store(tmp_path, signature)
    with ShardWriter(tmp_path, "a", signature, PHOTOS) as writer:
        writer.add("one", 100, VALUES["one"])
        with pytest.raises(DataError, match="a: two: its embedding holds NaN or infinite numbers"):
            writer.add("two", 200, values)
        with pytest.raises(DataError, match=r"has the shape \(256, 8, 8\), not \(256, 4, 4\)"):
            writer.add("two", 200, np.zeros((256, 8, 8)))
    assert ShardWriter(tmp_path, "a", signature, PHOTOS).done == 1


def contents(store: Path) -> dict[str, bytes]:
    """All files but the hidden ones."""
    return {file.name: file.read_bytes() for file in store.iterdir() if not file.name.startswith(".")}


def offsets(files: dict[str, bytes], ending: str) -> list[int]:
    """Where a kill may leave a file: inside and at the ends of headers, members, padding and lines."""
    size = len(files[f"a.{ending}"])
    lines = [json.loads(line) for line in files["a.jsonl"].splitlines()]
    if ending == "jsonl":
        marks = np.cumsum([len(line) + 1 for line in files["a.jsonl"].splitlines()]).tolist()
    else:
        marks = [
            place
            for line in lines
            for m in line["members"]
            for place in (m["offset"], m["offset"] + m["size"])
        ]
    near = {mark + step for mark in [0, *marks, size] for step in (-600, -1, 0, 1, 300)}
    return sorted(place for place in near if 0 <= place <= size)


@pytest.mark.parametrize("ending", ["tar", "jsonl"])
def test_a_run_killed_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, bits: int, ending: str) -> None:
    """The tar is always ahead of its index; after a loss of power it may be the other way round."""
    store = fill(tmp_path / "store", bits)
    expected = contents(store)
    done = set()
    for place in offsets(expected, ending):
        for name in ("a.tar", "a.jsonl"):
            (store / name).unlink()
            kept = expected[name][:place] if name == f"a.{ending}" else expected[name]
            (store / f"{name}.part").write_bytes(kept)
        with ShardWriter(store, "a", Signature.of(TEACHER, bits), PHOTOS) as writer:
            done.add(writer.done)
        fill(store, bits)
        assert contents(store) == expected
    assert done == {0, 1, 2, 3}


@pytest.mark.parametrize("moved", [(), ("a.tar",)])
def test_a_run_killed_between_the_last_steps_is_finished(
    store: Path, bits: int, moved: tuple[str, ...]
) -> None:
    expected = contents(store)
    for name in {"a.tar", "a.jsonl"}.difference(moved):
        (store / name).rename(store / f"{name}.part")
    assert ENTRIES[0] not in EmbeddingStore(store)
    assert not embeddings.ShardFiles(store, "a").finished
    with ShardWriter(store, "a", Signature.of(TEACHER, bits), PHOTOS) as writer:
        assert writer.done == 3
        writer.finish()
    assert contents(store) == expected


def test_only_the_photos_that_are_the_same_are_kept(store: Path, bits: int) -> None:
    signature = Signature.of(TEACHER, bits)
    for photos, done in (
        (PHOTOS[:2], 2),
        ([*PHOTOS[:1], ("two", 201)], 1),
        ([("zero", 1), *PHOTOS], 0),
    ):
        fill(store, bits)
        with ShardWriter(store, "a", signature, photos) as writer:
            assert writer.done == done
            writer.finish()
        assert find_trouble(store, "a", photos[:done]) is None


def test_a_flipped_byte_is_found_wherever_it_is(store: Path) -> None:
    assert find_trouble(store, "a", PHOTOS) is None
    for name, whole in contents(store).items():
        if name == "store.json":
            continue
        for place in sorted({*range(0, len(whole), 1021), len(whole) - 1}):
            damaged = bytearray(whole)
            damaged[place] ^= 4
            (store / name).write_bytes(damaged)
            trouble = find_trouble(store, "a", PHOTOS)
            assert trouble is not None and trouble.startswith(str(store / "a.")), (name, place)
        (store / name).write_bytes(whole)


def test_damage_is_named(store: Path) -> None:
    tar, index = store / "a.tar", store / "a.jsonl"
    whole, lines = tar.read_bytes(), index.read_bytes()
    record = json.loads(lines.splitlines()[1])
    for cut, trouble in (
        (len(whole) - 1, f"{tar}: does not end where it should"),
        (record["members"][0]["offset"] + 99, f"{tar}: the embedding of two is damaged"),
        (0, f"{tar}: the embedding of one is damaged"),
    ):
        tar.write_bytes(whole[:cut])
        assert find_trouble(store, "a", PHOTOS) == trouble
    tar.unlink()
    assert find_trouble(store, "a", PHOTOS) == f"{tar}: is missing"
    tar.write_bytes(whole)
    index.write_bytes(lines[:-5])
    assert find_trouble(store, "a", PHOTOS) == f"{index}: is damaged in line 3"
    index.unlink()
    assert find_trouble(store, "a", PHOTOS) == f"{tar}: has no index, a.jsonl"


@pytest.mark.parametrize(
    ("photos", "trouble"),
    [
        ([*PHOTOS, ("four", 4)], "has no embedding of four"),
        (PHOTOS[:2], "holds three where there is no photo now"),
        ([PHOTOS[0], PHOTOS[2]], "holds two where there is three now"),
        ([PHOTOS[0], ("two", 201), PHOTOS[2]], "two has changed since it was embedded"),
    ],
)
def test_other_photos_are_named(tmp_path: Path, photos: list[tuple[str, int]], trouble: str) -> None:
    store = fill(tmp_path / "store")
    assert find_trouble(store, "a", photos) == f"{store / 'a.tar'}: {trouble}"


def test_reading_a_damaged_record_names_the_tar_the_photo_and_the_remedy(store: Path) -> None:
    tar = store / "a.tar"
    whole = tar.read_bytes()
    member = json.loads((store / "a.jsonl").read_bytes().splitlines()[1])["members"][-1]
    damaged = bytearray(whole)
    damaged[member["offset"] + member["size"] - 1] ^= 1
    for content in (bytes(damaged), whole[: member["offset"]]):
        tar.write_bytes(content)
        reader = EmbeddingStore(store)
        reader.read(ENTRIES[0])
        with pytest.raises(DataError) as error:
            reader.read(ENTRIES[1])
        assert str(error.value) == (
            f"{tar}: the embedding of two is damaged (its checksum is wrong);"
            " run the same pocketsam embed again, which rebuilds the shard"
        )
    tar.unlink()
    with pytest.raises(
        DataError, match=r"a\.tar: cannot be read \(No such file or directory\); run the same"
    ):
        reader.read(ENTRIES[0])
    (store / "a.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"a\.jsonl: is damaged; run the same pocketsam embed again"):
        EmbeddingStore(store).read(ENTRIES[0])


def test_photos_that_are_missing_or_have_changed_are_told(store: Path, bits: int) -> None:
    reader = EmbeddingStore(store)
    changed, other, elsewhere = entry("two", 201), entry("four", 4), entry("one", 100, "photos/b.tar")
    assert reader.missing([*ENTRIES, changed, other, elsewhere]) == [changed, other, elsewhere]
    assert ENTRIES[1] in reader and changed not in reader
    option = "" if bits == 16 else " --bits 8"
    for one, shard in ((other, "a"), (elsewhere, "b")):
        with pytest.raises(DataError) as error:
            reader.read(one)
        assert str(error.value) == (
            f"photos/{shard}.tar: {one.name}: has no embedding in {store};"
            f" run: pocketsam embed photos/{shard}.tar --teacher … -o {store}{option}"
        )
    with pytest.raises(
        DataError, match=r"two: has changed since it was embedded in .* \(200 bytes then, 201 now\)"
    ):
        reader.read(changed)


def test_a_shard_that_is_finished_later_is_seen(store: Path, bits: int) -> None:
    reader, later = EmbeddingStore(store), entry("one", 100, "photos/b.tar")
    assert later not in reader
    fill(store, bits, "b")
    assert later in reader


@pytest.mark.parametrize("folder", ["photos", ".", "../here"])
def test_photos_of_a_folder_go_by_its_name(tmp_path: Path, monkeypatch, folder: str) -> None:
    here = tmp_path / ("photos" if folder == "photos" else "here")
    here.mkdir()
    monkeypatch.chdir(tmp_path if folder == "photos" else here)
    name = here.name
    fill(tmp_path / "store", shard=name)
    one = Entry("one", Span(Path(folder) / "one.jpg", 0, 100), None)
    assert one in EmbeddingStore(tmp_path / "store")


def test_a_store_can_be_sent_to_a_worker(store: Path) -> None:
    reader = EmbeddingStore(store)
    before = len(pickle.dumps(reader))
    expected = reader.read(ENTRIES[1])
    sent = pickle.dumps(reader)
    assert len(sent) == before  # without the index, which may be large
    np.testing.assert_array_equal(pickle.loads(sent).read(ENTRIES[1]), expected)


def test_a_signature_reads_like_a_sentence_and_the_name_is_not_compared() -> None:
    signature = Signature.of(TEACHER, 16)
    assert str(signature) == "tiny (weights 3f2a91c4) at 64 × 64, squash, 16 bits"
    assert signature == Signature.of(replace(TEACHER, name="other"), 16)
    assert Signature.from_json(signature.to_json()) == signature
    assert str(Signature.of(replace(TEACHER, weights=""), 8)) == "tiny at 64 × 64, squash, 8 bits"
    assert Signature.of(replace(TEACHER, weights=""), 8) != Signature.of(ModelConfig("a", 64, "squash"), 8)
    half = Signature.of(replace(TEACHER, numerics="float16"), 16, "bfloat16")
    assert Signature.from_json(half.to_json()) == half
    assert str(half).endswith("at 64 × 64, squash, weights in float16, computed in bfloat16, 16 bits")
    with pytest.raises(InputError, match="bits is 12; an embedding is stored with 16 or 8"):
        Signature.of(TEACHER, 12)


@pytest.mark.parametrize(
    "other",
    [
        {"weights": 64 * "a"},
        {"numerics": "float16"},
        {"image_size": 128},
        {"resize": "pad"},
        {"mean": (0.0, 0.0, 1.0)},
        {"std": (1.0, 1.0, 1.0)},
        {"resampling": "plain"},
    ],
)
def test_a_store_of_another_teacher_is_refused_with_both_signatures(tmp_path: Path, other: dict) -> None:
    store = fill(tmp_path / "store")
    before = {file.name for file in store.iterdir()}
    another = replace(TEACHER, name="another", **other)
    EmbeddingStore(store).check(TEACHER)
    for refused in (
        lambda: EmbeddingStore(store).check(another),
        lambda: create_store(store, Signature.of(another, 16)),
    ):
        with pytest.raises(DataError) as error:
            refused()
        line = str(error.value)
        assert str(Signature.of(TEACHER, 16)) in line and str(Signature.of(another, 16)) in line
        assert f"they differ in: {next(iter(other))};" in line
    assert {file.name for file in store.iterdir()} == before


def test_a_store_is_computed_in_one_precision(tmp_path: Path) -> None:
    store = fill(tmp_path / "store")
    with pytest.raises(DataError, match=r"they differ in: precision;"):
        create_store(store, Signature.of(TEACHER, 16, "bfloat16"))


def test_bits_are_compared_where_they_are_given(tmp_path: Path) -> None:
    reader = EmbeddingStore(fill(tmp_path / "store"))
    reader.check(TEACHER, 16)
    with pytest.raises(DataError, match=r"16 bits, not of .* 8 bits; they differ in: bits"):
        reader.check(TEACHER, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no store of embeddings; run: pocketsam embed PHOTOS"),
        (b"{}", r"store\.json: cannot be used \(it is another file\)"),
        (b"[half", r"store\.json: cannot be used"),
        (b'{"version": 2}', r"store\.json: cannot be used \(it is of version 2, this PocketSAM reads 1\)"),
        (b'{"version": 1}', r"store\.json: cannot be used"),
        (b'{"version": 1, "bits": 16, "teacher": []}', r"store\.json: cannot be used"),
    ],
)
def test_what_is_no_store_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        EmbeddingStore(tmp_path)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_a_folder_of_other_things_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"photos")
    with pytest.raises(DataError, match="is not empty and no store of embeddings; give a folder of its own"):
        create_store(tmp_path, Signature.of(TEACHER, 16))
    with pytest.raises(InputError, match=r"a\.tar: is no folder and cannot become one"):
        create_store(tmp_path / "a.tar", Signature.of(TEACHER, 16))
    assert contents(tmp_path) == {"a.tar": b"photos"}


@pytest.mark.parametrize("written", [0, 700, 9000])
def test_a_full_disk_keeps_what_was_added(tmp_path: Path, monkeypatch, written: int) -> None:
    store = fill(tmp_path / "store")
    expected = contents(store)
    for name in ("a.tar", "a.jsonl"):
        (store / name).unlink()
    signature, write = Signature.of(TEACHER, 16), embedding_writer._write

    def full(file, content):
        write(file, content[:written])
        raise OSError(28, "No space left on device")

    with ShardWriter(store, "a", signature, PHOTOS) as writer:
        writer.add("one", 100, VALUES["one"])
        monkeypatch.setattr(embedding_writer, "_write", full)
        with pytest.raises(InputError) as error:
            writer.add("two", 200, VALUES["two"])
    assert str(error.value) == (
        f"{store / 'a.tar.part'}: cannot be written (No space left on device);"
        " what is embedded so far is kept, and the same command goes on with it"
    )
    monkeypatch.setattr(embedding_writer, "_write", write)
    with ShardWriter(store, "a", signature, PHOTOS) as writer:
        assert writer.done == 1
    fill(store)
    assert contents(store) == expected
