"""The same numbers from any number of workers, in any batch, before and after a kill; and nothing lost in silence."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from pocketsam.data.sa1b import Shards
from pocketsam.errors import DataError, InputError, PocketSAMError
from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.evaluation.results import Means
from pocketsam.evaluation.session import run
from pocketsam.segmenter import Segmenter
from pocketsam.utils.journal import Journal
from shards import annotation_file, blocks, jpeg, paint, write_shard, write_tar

SIZE = 64, 64
SETTINGS = {"model": "perfect"}


@pytest.fixture
def photos(tmp_path):
    masks = blocks((2, 3, 20, 30), (40, 20, 60, 40), size=SIZE)
    return Shards(write_shard(tmp_path / "drawn.tar", {name: masks for name in "abcde"}))


def test_two_workers_give_what_one_process_gives_with_the_model_inside_the_package(photos):
    open_pocket = partial(Segmenter, "pocket", "onnx", threads=1)
    alone = run(Clicks(), photos, open_pocket)
    shared = run(Clicks(), photos, open_pocket, workers=2)
    assert [result.name for result in shared] == list("abcde")
    for one, other in zip(alone, shared, strict=True):
        for a, b in zip(one.rows, other.rows, strict=True):
            assert a.scores == pytest.approx(b.scores, abs=1e-4)
            assert a.prompt == b.prompt


def test_batches_of_1_and_16_give_the_same_with_the_model_inside_the_package(photos):
    results = [run(Clicks(), photos, partial(Segmenter, "pocket", "onnx", batch=batch)) for batch in (1, 16)]
    one, other = (Means(result) for result in results)
    assert all(one[name] == pytest.approx(other[name], abs=1e-4) for name in ("box", "1 click", "3 clicks"))


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(photos, perfect, tmp_path):
    undisturbed = run(Clicks(), photos, lambda: perfect)
    journal = Journal(tmp_path / "journal.jsonl", SETTINGS)
    run(Clicks(), photos, lambda: perfect, photos=range(3), journal=journal)
    with journal.path.open("ab") as file:
        file.write(b'{"run": "1b2c", "name": "3", "ent')  # killed in the middle of a line

    perfect.engine.encoded = 0
    again, seen = Journal(journal.path, SETTINGS), []
    resumed = run(Clicks(), photos, lambda: perfect, journal=again, after_photo=lambda r: seen.append(r.name))
    assert resumed == undisturbed
    assert seen == list("abcde")
    assert perfect.engine.encoded == 2
    assert len(journal.path.read_text().splitlines()) == 5


def test_a_journal_of_another_run_is_refused_and_kept(photos, perfect, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", {"model": "one"})
    run(Clicks(), photos, lambda: perfect, journal=journal)
    with pytest.raises(
        InputError, match=r"unfinished run of other settings \(5 done\).*choose another place"
    ):
        Journal(journal.path, {"model": "another"})
    assert len(Journal(journal.path, {"model": "one"}).entries) == 5


def test_two_runs_that_write_into_one_journal_do_not_mix(photos, perfect, tmp_path):
    one, other = (Journal(tmp_path / "journal.jsonl", {"model": name}) for name in ("one", "other"))
    run(Clicks(), photos, lambda: perfect, photos=[0, 1], journal=one)
    run(Clicks(seed=1), photos, lambda: perfect, photos=[1, 2], journal=other)
    assert list(Journal(one.path, {"model": "one"}).entries) == ["0", "1"]
    assert list(Journal(one.path, {"model": "other"}).entries) == ["1", "2"]


def test_a_photo_that_was_missing_is_looked_for_again(tmp_path, perfect):
    masks = blocks((2, 3, 20, 30), size=SIZE)
    (tmp_path / "a.json").write_bytes(annotation_file("a", masks, "drawn"))
    (tmp_path / "a.jpg").write_bytes(b"not yet")
    dataset = Shards(tmp_path)
    journal = Journal(tmp_path / "run/journal.jsonl", SETTINGS)
    assert run(Clicks(), dataset, lambda: perfect, journal=journal)[0].missing
    (tmp_path / "a.jpg").write_bytes(jpeg(paint(masks)))
    (found,) = run(Clicks(), Shards(tmp_path), lambda: perfect, journal=Journal(journal.path, SETTINGS))
    assert len(found.rows) == 1


def test_a_journal_that_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / "odd.jsonl").write_text('{"no": "result"}\n')
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("odd.jsonl", "folder.jsonl"):
        with pytest.raises(InputError, match=rf"{name}.*delete it"):
            Journal(tmp_path / name, SETTINGS)


def test_a_full_disk_is_named_and_what_was_measured_stays(photos, perfect, tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.jsonl", SETTINGS)
    run(Clicks(), photos, lambda: perfect, photos=[0], journal=journal)
    journal.path, kept = type(journal.path)("/dev/full"), journal.path
    with pytest.raises(InputError, match=r"/dev/full: .*No space left.*make room"):
        run(Clicks(), photos, lambda: perfect, photos=[1], journal=journal)
    assert len(Journal(kept, SETTINGS).entries) == 1


def test_what_cannot_be_measured_is_named_and_the_rest_is_measured(tmp_path, perfect):
    masks = blocks((2, 3, 20, 30), (5, 5, 5, 5), size=SIZE)
    other = json.loads(annotation_file("odd", masks, "drawn"))
    other["annotations"][0]["segmentation"]["size"] = [9, 9]
    del other["annotations"][1]["segmentation"]
    files = [
        ("good.jpg", jpeg(paint(masks))),
        ("good.json", annotation_file("good", masks, "drawn")),
        ("broken.jpg", jpeg(paint(masks))[:100]),
        ("broken.json", annotation_file("broken", masks, "drawn")),
        ("odd.jpg", jpeg(paint(masks))),
        ("odd.json", json.dumps(other).encode()),
    ]
    dataset = Shards(write_tar(tmp_path / "drawn.tar", files))
    good, broken, odd = run(Clicks(), dataset, lambda: perfect)
    assert [row.mask for row in good.rows] == [0]
    assert good.left_out == [f"{tmp_path}/drawn.tar: good: annotation 1 has no pixels"]
    assert "drawn.tar: broken" in broken.missing
    assert odd.rows == []
    assert "annotation 0 has a mask of size [9, 9]" in odd.left_out[0]
    assert "annotation 1 has no RLE" in odd.left_out[1]
    assert Means([good, broken, odd]).photos == 1, "photos on which something was measured"


@dataclass(frozen=True)
class Strict(Clicks):
    """A protocol whose result would be wrong without one of the photos."""

    needs_all_photos = True


def test_a_missing_photo_is_refused_where_the_protocol_needs_all(tmp_path, perfect):
    masks = blocks((2, 3, 20, 30), size=SIZE)
    files = [("cut.jpg", jpeg(paint(masks))[:200]), ("cut.json", annotation_file("cut", masks, "drawn"))]
    with pytest.raises(DataError, match=r"broken\.tar: cut"):
        run(Strict(), Shards(write_tar(tmp_path / "broken.tar", files)), lambda: perfect)


@dataclass(frozen=True)
class Suicidal(Clicks):
    def measure(self, segmenter, sample, photo):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_ends_the_run_with_a_line(photos):
    with pytest.raises(PocketSAMError, match="fewer --workers"):
        run(Suicidal(), photos, partial(Segmenter, "pocket", "onnx"), workers=1)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the workers")
def test_the_workers_of_a_killed_run_end_with_it(photos, tmp_path):
    script = tmp_path / "measure.py"
    script.write_text(
        "from functools import partial\n"
        "from pocketsam import Segmenter\n"
        "from pocketsam.data.sa1b import Shards\n"
        "from pocketsam.evaluation.protocols.clicks import Clicks\n"
        "from pocketsam.evaluation.session import run\n"
        "if __name__ == '__main__':\n"
        f"    data, done = Shards({str(photos.entries[0].photo.path)!r}), lambda r: print('one', flush=True)\n"
        "    run(Clicks(), data, partial(Segmenter, 'pocket', 'onnx'), workers=1, after_photo=done)\n"
        "    input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "one\n"
    workers = children(parent.pid)
    assert workers
    parent.kill()
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def children(process):
    """The processes that this one has started, on Linux."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(number) for number in found]


def alive(process):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_an_error_in_a_worker_reaches_the_user(photos):
    with pytest.raises(PocketSAMError, match="pokcet"):
        run(Clicks(), photos, partial(Segmenter, "pokcet"), workers=1)


def test_photos_without_masks_are_not_encoded(tmp_path, perfect):
    dataset = Shards(write_shard(tmp_path / "empty.tar", {"none": blocks((0, 0, 0, 0), size=SIZE)}))
    (result,) = run(Clicks(), dataset, lambda: perfect)
    assert (result.rows, len(result.left_out), perfect.engine.encoded) == ([], 1, 0)
    assert replace(result, left_out=[]).missing == ""
