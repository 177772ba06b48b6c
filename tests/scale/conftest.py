"""A Ray cluster of two machines that are processes of this one."""

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator

import pytest


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
    path = os.pathsep.join(sys.path)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": path}
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    cluster.add_node(**machine)
    yield cluster.address
    cluster.shutdown()
