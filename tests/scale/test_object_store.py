"""Shards in an S3-compatible object store, and their results there."""

import logging
import os

import pytest

from pocketsam.errors import InputError
from pocketsam.scale.run import run
from pocketsam.scale.storage import storage_path
from scaling import Greys, published


def test_results_go_on_where_a_run_was_stopped_are_those_of_a_disk_and_hold_no_credentials(
    stored_photos, bucket, tmp_path, caplog, capsys
):
    caplog.set_level(logging.DEBUG)
    job, out = Greys(marks=str(tmp_path)), storage_path(f"{bucket}/masks")
    with pytest.raises(KeyboardInterrupt):
        run(job, [stored_photos], out.path)
    assert out.files() == ["a.manifest.json", "a.tar", "settings.json"]
    summary = run(job, [stored_photos], out.path)
    assert (summary.total("photos"), [one.resumed for one in summary.outcomes]) == (13, [True, False])

    run(job, [tmp_path], tmp_path / "disk")
    on_disk = published(tmp_path / "disk")
    assert out.files() == sorted(on_disk)
    assert [(out / name).read() for name in ("a.tar", "b.tar")] == [on_disk["a.tar"], on_disk["b.tar"]]

    with pytest.raises(InputError) as refused:
        run(job, [stored_photos], f"{bucket}-that-is-not-there/masks")
    said = capsys.readouterr()
    written = b"".join((out / name).read() for name in out.files()).decode(errors="replace")
    for text in (str(refused.value), str(summary), caplog.text, said.out, said.err, written):
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text
