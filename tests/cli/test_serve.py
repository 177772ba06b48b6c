import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from commands import run


@pytest.fixture
def pocketsam(monkeypatch, capsys, tmp_path, engine):
    """Runs `pocketsam serve …` in an empty folder on the fake engine; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: engine)
    return lambda *words: run(monkeypatch, capsys, "serve", "--no-browser", *words)


def test_other_computers_need_a_token(pocketsam):
    code, _, err = pocketsam("--host", "0.0.0.0", "--port", 0)
    assert code == 2
    assert "give --token SECRET" in err


def test_a_port_in_use_is_named(pocketsam):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = pocketsam("--port", taken.getsockname()[1])
    assert code == 2
    assert "is in use" in err


def test_missing_photos_are_named(pocketsam, tmp_path):
    assert "there is no such file" in pocketsam("--port", 0, "gone.jpg")[2]
    assert "there are no photos" in pocketsam("--port", 0, tmp_path)[2]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_stops_when_told_to(samples, tmp_path, stop):
    command = [
        sys.executable,
        "-m",
        "pocketsam",
        "serve",
        samples,
        "--port",
        "0",
        "--no-browser",
        "-o",
        tmp_path,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        address = re.match(r"http://127\.0\.0\.1:\d+/", server.stdout.readline()).group()
        with urllib.request.urlopen(f"{address}api/model", timeout=60) as response:
            assert json.load(response)["name"] == "pocket"
        server.send_signal(stop)
        assert server.wait(60) == 0
        assert server.stderr.read() == ""
