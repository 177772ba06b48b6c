"""An S3-compatible object store: moto's server, in an environment of its own, as its packages exclude ours.

Make one with `make s3-server`.
"""

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pocketsam.errors import InputError
from pocketsam.scale.places import place
from pocketsam.scale.run import run
from pocketsam.scale.words import ScaleWords
from scaling import Greys, published, write_photos

NAMES = [f"{number:02}" for number in range(6)]
SERVER = Path(__file__).parents[2] / ".venv-s3" / "bin" / "moto_server"


@pytest.fixture(scope="module")
def bucket(store_port) -> Iterator[str]:
    """The URL of a bucket, with two shards in photos/."""
    if (
        not SERVER.exists()
    ):  # another version of moto than that environment's may fail to join an object's parts
        pytest.skip("moto's server is not there: make s3-server")
    fs = pytest.importorskip("pyarrow.fs", reason="PyArrow is not installed: pip install -e '.[scale]'")
    process = subprocess.Popen(
        [str(SERVER), "-p", str(store_port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(store_port)
        store = fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{store_port}", scheme="http", allow_bucket_creation=True
        )
        store.create_dir("bucket")
        yield "s3://bucket"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("moto's server did not start")


@pytest.fixture
def photos(bucket, tmp_path) -> str:
    for name in "ab":
        shard = write_photos(tmp_path / f"{name}.tar", [*NAMES, "stop-decode"] if name == "b" else NAMES)
        (place(bucket) / "photos" / shard.name).write([shard.read_bytes()])
    return f"{bucket}/photos"


def test_results_go_on_where_a_run_was_stopped_are_those_of_a_disk_and_hold_no_credentials(
    photos, bucket, tmp_path, caplog, capsys
):
    caplog.set_level(logging.DEBUG)
    job, out = Greys(marks=str(tmp_path)), place(f"{bucket}/masks")
    with pytest.raises(KeyboardInterrupt):
        run(job, [photos], out.path)
    assert out.files() == ["a.manifest.json", "a.tar", "settings.json"]
    summary = run(job, [photos], out.path)
    assert (summary.total("photos"), [one.resumed for one in summary.outcomes]) == (13, [True, False])

    run(job, [tmp_path], tmp_path / "disk")
    on_disk = published(tmp_path / "disk")
    assert out.files() == sorted(on_disk)
    assert [(out / name).read() for name in ("a.tar", "b.tar")] == [on_disk["a.tar"], on_disk["b.tar"]]

    with pytest.raises(InputError) as refused:
        run(job, [photos], f"{bucket}-that-is-not-there/masks")
    said = capsys.readouterr()
    written = b"".join((out / name).read() for name in out.files()).decode(errors="replace")
    for text in (str(refused.value), str(summary), caplog.text, said.out, said.err, written):
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text


def test_a_cluster_reads_and_writes_it(photos, bucket, tmp_path, ray_address):
    (tmp_path / "stop-decode.jpg").touch()
    summary = run(Greys(marks=str(tmp_path)), [photos], f"{bucket}/by-ray", ScaleWords(ray=ray_address))
    assert summary.total("photos") == 13
