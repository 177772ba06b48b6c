"""A server on the fake engine, with a photo of each kind, and a client that calls it as its own page does."""

import shutil

import pytest
from fastapi.testclient import TestClient

from browsing import HOME, address
from pocketsam import Segmenter
from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.limits import Limits
from pocketsam.server.service import Service

SMALL = Limits(body=300_000, pixels=250_000, waiting=4, waiting_each=2, uploads=400_000)


@pytest.fixture
def folder(tmp_path, samples):
    """Two photos, beside a file that nobody named."""
    for name in ("cap.jpg", "tshirt.jpg"):
        shutil.copy(samples / name, tmp_path / name)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


@pytest.fixture
def service(folder, engine):
    return Service(Segmenter(engine=engine), [folder], folder / "annotations", SMALL)


@pytest.fixture
def client(service):
    with TestClient(make_app(service, LOOPBACK), base_url=HOME) as client:
        yield client


@pytest.fixture
def cap(client):
    """The address of cap.jpg, 400 × 534 pixels."""
    return address(client, "cap.jpg")
