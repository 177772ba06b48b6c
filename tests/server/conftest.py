"""A server on the fake engine, with a photo of each kind, and a client that calls it as its own page does.

For tests in Chromium: a browser, servers that take real connections, and a page.
"""

import os
import shutil
import threading

import pytest
import uvicorn
from fastapi.testclient import TestClient

from browsing import HOME, address
from chromium import CHROMIUM, Page, is_fault
from pocketsam import Segmenter
from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.limits import Limits
from pocketsam.server.run import listen
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


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    sandbox = [] if os.getuid() else ["--no-sandbox"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter()


@pytest.fixture
def serve(tmp_path, samples):
    """Serves sample photos, saves into tmp_path, and gives the address."""
    running = []

    def start(segmenter, *names):
        service = Service(segmenter, [samples / name for name in names], tmp_path)
        listening = listen("127.0.0.1", 0, None)
        server = uvicorn.Server(uvicorn.Config(make_app(service, LOOPBACK), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser, tmp_path):
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    page = context.new_page()
    failures = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if is_fault(message) else None)
    yield Page(page, tmp_path)
    context.close()
    assert not failures
