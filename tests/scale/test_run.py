"""Jobs over shards in this process: published once, whole, and the same bytes however often a run ended."""

import hashlib
import json
import tarfile

import pytest

from pocketsam.errors import InputError
from pocketsam.scale.arguments import ScaleArguments
from pocketsam.scale.formats import _rows
from pocketsam.scale.run import alike_everywhere, run
from pocketsam.utils.running import Running
from pocketsam.utils.tars import member
from scaling import Greys, published, write_photos

NAMES = [f"{number:02}" for number in range(6)]


@pytest.fixture
def photos(tmp_path):
    """Two shards of 6 and 7 photos, of which one is broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_photos(folder / "a.tar", NAMES)
    write_photos(folder / "b.tar", [*NAMES, "broken"])
    return folder


def test_every_shard_gets_a_file_in_its_order_and_a_manifest_with_its_digest(photos, tmp_path):
    summary = run(Greys(), [photos], tmp_path / "out")
    assert str(summary) == (
        f"{tmp_path}/out: 12 photos, 12 masks, 2 shards; 1 photo could not be used: manifest.jsonl says why"
    )
    files = published(tmp_path / "out")
    assert sorted(files) == [
        *("a.manifest.json", "a.tar", "b.manifest.json", "b.tar", "manifest.jsonl", "settings.json")
    ]
    manifests = [json.loads(line) for line in files["manifest.jsonl"].splitlines()]
    assert [one["file"]["sha256"] for one in manifests] == [
        hashlib.sha256(files[name]).hexdigest() for name in ("a.tar", "b.tar")
    ]
    assert manifests[0]["quarantined"] == []
    [quarantined] = manifests[1]["quarantined"]
    assert quarantined["photo"] == "broken.jpg" and "not an image" in quarantined["reason"]
    with tarfile.open(tmp_path / "out" / "b.tar") as tar:
        assert tar.getnames() == [f"{name}.json" for name in NAMES]


def test_a_run_that_was_stopped_goes_on_with_the_parts_that_are_there_to_the_same_bytes(photos, tmp_path):
    write_photos(photos / "c.tar", [*NAMES, "stop-decode"])
    marks = tmp_path / "marks"
    marks.mkdir()
    (marks / "stop-decode.jpg").touch()
    job = Greys(marks=str(marks))
    run(job, [photos], tmp_path / "undisturbed")
    (marks / "stop-decode.jpg").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(job, [photos], tmp_path / "out")
    [parts] = (tmp_path / "out" / ".parts").iterdir()
    assert [part.name for part in parts.iterdir()] == ["00000"]
    begun = (parts / "00000").stat().st_mtime_ns, (tmp_path / "out" / "a.tar").stat().st_mtime_ns
    assert begun[0] > begun[1]
    assert "2 of them done by an earlier run" in str(run(job, [photos], tmp_path / "out"))
    assert published(tmp_path / "out") == published(tmp_path / "undisturbed")
    assert not (tmp_path / "out" / ".parts").exists()


def test_a_shard_that_changed_or_lost_its_file_is_done_again_and_other_settings_are_refused(photos, tmp_path):
    out = tmp_path / "out"
    run(Greys(), [photos], out)
    write_photos(photos / "a.tar", NAMES[:5])
    (out / "b.tar").unlink()
    again = run(Greys(), [photos], out)
    assert [one.resumed for one in again.outcomes] == [False, False] and again.total("photos") == 11
    with pytest.raises(InputError, match=r"out: holds results of other settings \(model\)"):
        run(Greys(model="another"), [photos], out)
    with pytest.raises(InputError, match=r"other settings \(format\)"):
        run(Greys(), [photos], out, ScaleArguments(parquet=True))


def test_a_damaged_shard_does_not_stop_the_others_and_no_manifest_of_all_is_written(photos, tmp_path):
    whole = photos / "a.tar"
    whole.write_bytes(whole.read_bytes()[:2000])
    summary = run(Greys(), [photos], tmp_path / "out")
    with pytest.raises(InputError, match=r"a\.tar: not a readable tar shard.*tries again"):
        summary.check()
    assert sorted(published(tmp_path / "out")) == ["b.manifest.json", "b.tar", "settings.json"]


def test_two_photos_that_differ_in_their_ending_only_are_refused(tmp_path):
    shard = write_photos(tmp_path / "s.tar", ["1", "1"])
    assert "two photos of the name 1" in run(Greys(), [shard], tmp_path / "out").failed[0]


def test_parquet_has_a_row_for_each_mask_and_the_same_bytes_each_time(photos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for folder in ("out", "again"):
        run(Greys(), [photos], tmp_path / folder, ScaleArguments(parquet=True))
    rows = parquet.read_table(tmp_path / "out" / "b.parquet").to_pylist()
    assert [row["photo"] for row in rows] == [f"{name}.jpg" for name in NAMES]
    assert rows[0]["bbox"] == [0, 0, 10, 8] and rows[0]["counts"] == "0" and rows[0]["point"] is None
    assert published(tmp_path / "out") == published(tmp_path / "again")


@pytest.mark.parametrize(("fast", "precision"), [(True, "int8"), (False, "float32")])
def test_other_machines_compute_as_this_one_would(
    fast: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pocketsam.engines.registry.multiplies_int8", lambda: fast)
    running = alike_everywhere("pocket", Running(engine="onnx"))
    assert (running.engine, running.precision, running.threads) == ("onnx", precision, 1)
    assert alike_everywhere("pocket", Running(threads=3)).engine in ("openvino", "onnx")


def test_runs_of_different_shards_share_a_folder(photos, tmp_path):
    out = tmp_path / "out"
    at_work = out / ".parts" / "b-0123456789ab"
    at_work.mkdir(parents=True)
    run(Greys(), [photos / "a.tar"], out)
    assert at_work.exists()  # another run makes it
    at_work.rmdir()
    run(Greys(), [photos / "b.tar"], out)
    assert not (out / ".parts").exists()
    manifests = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [one["file"]["name"] for one in manifests] == ["a.tar", "b.tar"]


def test_rows_of_photos_in_folders_have_their_paths(tmp_path):
    document = json.dumps(
        {
            "image": {"file_name": "1.jpg", "height": 2, "width": 3},
            "annotations": [{"segmentation": {"size": [2, 3], "counts": "0"}}],
        }
    ).encode()
    content = b"".join(member(f"{folder}/1.json", document) for folder in ("cats", "dogs"))
    assert [row["photo"] for row in _rows(content)] == ["cats/1.jpg", "dogs/1.jpg"]


def test_no_photos_are_refused(tmp_path):
    with pytest.raises(InputError, match="there are no photos"):
        run(Greys(), [], tmp_path / "out")
