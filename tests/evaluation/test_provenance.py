"""Fingerprints of data."""

import shutil
from pathlib import Path

from pocketsam.evaluation.provenance import fingerprint
from shards import write_tar


def test_a_folder_in_an_archive_is_known_by_the_archive(tmp_path: Path) -> None:
    one, other = (
        write_tar(tmp_path / name, [("val/cat/a.jpg", content)])
        for name, content in (("a.tar", b"1"), ("b.tar", b"2"))
    )
    found = fingerprint(one / "val")
    assert found["name"] == "a.tar/val" and found["sha256"] == fingerprint(one)["sha256"]
    assert found != fingerprint(one / "train") and found["sha256"] != fingerprint(other / "val")["sha256"]


def test_a_folder_is_known_by_its_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "out").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"1")
    before = fingerprint(folder)
    (folder / "out" / "result.json").write_bytes(b"{}")
    assert fingerprint(folder, without=folder / "out") == before != fingerprint(folder)
    (folder / "a.jpg").rename(folder / "b.jpg")
    assert fingerprint(folder, without=folder / "out") != before
    shutil.move(folder, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere")["bytes"] == 3
