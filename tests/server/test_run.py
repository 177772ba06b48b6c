import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import uvicorn

from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.run import address, is_loopback, listen

CLICK = {"objects": [{"points": [[200, 150]], "labels": [1]}]}


@pytest.fixture
def running(service):
    """The address of a server that takes real connections."""
    listening = listen("127.0.0.1", 0, None)
    server = uvicorn.Server(uvicorn.Config(make_app(service, LOOPBACK), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield address(listening, "127.0.0.1", None)
    server.should_exit = True
    thread.join()


def test_users_at_the_same_time_get_masks_or_are_told_to_try_again(running, engine):
    with httpx2.Client(base_url=running, timeout=60) as client:
        photos = [one["id"] for one in client.get("api/photos").json()]

        def click(i):
            return client.post(f"api/photos/{photos[i % 2]}/masks", json=CLICK)

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(click, range(100)))
        assert click(0).status_code == 200
    counts = Counter(answer.status_code for answer in answers)
    assert counts.keys() <= {200, 429}
    assert counts[200] > 0
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 429)
    assert len(engine.encoded) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_these_hosts_are_this_computer_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_other_computers_reach_these(host):
    assert not is_loopback(host)
