"""A Ray cluster of two machines that are processes of this one, and an S3-compatible object store.

The store is moto's server, in an environment of its own, as its packages exclude ours: `make s3-server`.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pocketsam.scale.storage import storage_path
from scaling import write_photos

SERVER = Path(__file__).parents[2] / ".venv-s3" / "bin" / "moto_server"


@pytest.fixture(scope="session")
def store_port() -> Iterator[int]:
    """The port at which an object store is looked for, by this process and by the cluster's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key-of-these-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-these-tests")
        patch.setenv("AWS_REGION", "us-east-1")
        yield port


@pytest.fixture(scope="session")
def ray_address(store_port: int) -> Iterator[str]:
    """The address of a cluster of two machines with a core each."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[scale]'")
    # Workers import the tests' own job, and are no nicer than these tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        machine = {"num_cpus": 1, "object_store_memory": 80 << 20}
        cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
        cluster.add_node(**machine)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="session")
def bucket(store_port) -> Iterator[str]:
    """The URL of a bucket, with two shards in photos/."""
    # Another version of moto than that environment's may fail to join an object's parts.
    if not SERVER.exists():
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
def stored_photos(bucket, tmp_path) -> str:
    """The URL of a folder with two shards, of 6 and 7 photos."""
    names = [f"{number:02}" for number in range(6)]
    for name in "ab":
        shard = write_photos(tmp_path / f"{name}.tar", [*names, "stop-decode"] if name == "b" else names)
        (storage_path(bucket) / "photos" / shard.name).write([shard.read_bytes()])
    return f"{bucket}/photos"
