"""Fetching from a real server on this machine: whole files, broken ones, and all that can go wrong on the way."""

import hashlib
import signal
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from pocketsam import zoo
from pocketsam.errors import ModelError
from pocketsam.utils import fetch as fetching
from pocketsam.utils.fetch import fetch

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

IN_A_PROCESS = """
import sys
from pathlib import Path
from pocketsam.errors import ModelError
from pocketsam.utils.fetch import fetch
try:
    fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3], None)
except ModelError as error:
    sys.exit(str(error))
"""


class Server(ThreadingHTTPServer):
    """Serves `content` at any address and remembers the requests: the Range asked for, and the bytes sent.

    ranges: whether it knows Range. breaks_after: bytes of an answer after which the connection closes.
    pauses_after: bytes after which it waits for `go`. status: what to answer instead.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True
        self.breaks_after: int | None = None
        self.pauses_after: int | None = None
        self.status: int | None = None
        self.asked, self.go = Event(), Event()
        self.requests: list[tuple[str | None, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/model.pt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, asked_for = self.server, self.headers["Range"]
        begin = int(asked_for.removeprefix("bytes=").removesuffix("-")) if asked_for and server.ranges else 0
        server.asked.set()
        if server.status:
            return self.send_error(server.status)
        body = server.content[begin:]
        sent = body[: server.breaks_after]
        server.requests.append((asked_for, len(sent)))
        if begin and not body:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
        else:
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        first = len(sent) if server.pauses_after is None else server.pauses_after
        self.wfile.write(sent[:first])
        self.wfile.flush()
        if first < len(sent):
            server.go.wait(30)
            self.wfile.write(sent[first:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.go.set()
        server.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "model" / "model.pt"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def left_beside(target: Path) -> set[str]:
    return {file.name for file in target.parent.iterdir()} - {"model.pt.lock"}


def start(server: Server, target: Path, before: str = "") -> subprocess.Popen[str]:
    arguments = [server.url, str(target), SHA256]
    return subprocess.Popen(
        [sys.executable, "-c", before + IN_A_PROCESS, *arguments], stderr=subprocess.PIPE, text=True
    )


def test_a_model_asked_for_by_name_is_fetched_once_and_then_found_without_a_network(
    server, tmp_path, monkeypatch
):
    monkeypatch.setenv("POCKETSAM_HOME", str(tmp_path))
    published = replace(zoo.MODELS["mobile_sam"], url=server.url, sha256=SHA256)
    monkeypatch.setitem(zoo.MODELS, "mobile_sam", published)

    path, config = zoo.locate("mobile_sam")
    server.shutdown()
    server.server_close()
    assert zoo.locate("mobile_sam") == (path, config)
    assert path == tmp_path / "mobile_sam" / "mobile_sam.pt"
    assert path.read_bytes() == CONTENT
    assert config == published.config
    assert server.requests == [(None, len(CONTENT))]


def test_a_broken_transfer_goes_on_where_it_ended(server, target):
    server.breaks_after = 700_000
    with pytest.raises(ModelError, match=r"cannot be fetched \(the connection broke off\)"):
        fetch(server.url, target, SHA256, None)
    have = part_of(target).stat().st_size
    assert 0 < have <= 700_000
    assert not target.exists()

    server.breaks_after = None
    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT
    assert server.requests[1] == (f"bytes={have}-", len(CONTENT) - have)
    assert left_beside(target) == {"model.pt"}


def test_a_server_without_ranges_sends_all_of_it_again(server, target):
    server.ranges = False
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:300_000])
    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT
    assert server.requests == [("bytes=300000-", len(CONTENT))]


def test_a_part_that_is_whole_already_is_only_verified(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT
    assert server.requests == [(f"bytes={len(CONTENT)}-", 0)]


def test_a_part_longer_than_the_file_starts_anew(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT + b"more")
    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT
    assert server.requests[1] == (None, len(CONTENT))


def test_a_corrupt_part_is_found_out_deleted_and_fetched_whole_the_next_time(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(bytes(300_000))
    with pytest.raises(ModelError, match="it is deleted: try again"):
        fetch(server.url, target, SHA256, None)
    assert left_beside(target) == set()
    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT


def test_a_file_that_is_not_the_published_one_is_refused(server, target):
    server.content = b"a page that asks for a password"
    with pytest.raises(ModelError) as refusal:
        fetch(server.url, target, SHA256, None)
    line = str(refusal.value)
    assert line.startswith(server.url)
    assert hashlib.sha256(server.content).hexdigest() in line
    assert SHA256 in line
    assert str(target) in line
    assert left_beside(target) == set()


def test_where_no_hash_is_known_the_user_sees_the_one_found(server, target, capsys):
    fetch(server.url, target, None, None)
    said = capsys.readouterr().err
    assert "no published hash is known for model.pt" in said
    assert SHA256 in said


def test_what_no_hash_could_verify_is_not_pieced_together(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(b"of another version")
    assert fetch(server.url, target, None, None).read_bytes() == CONTENT
    assert server.requests == [(None, len(CONTENT))]


def test_without_a_network_one_line_says_what_to_do(target):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/model.pt"
        with pytest.raises(ModelError) as failure:
            fetch(url, target, SHA256, None)
    line = str(failure.value)
    assert line.startswith(f"{url}: cannot be fetched (no connection")
    assert f"put it at {target}" in line
    assert "POCKETSAM_HOME" in line
    assert "\n" not in line


def test_a_missing_page_is_named_by_its_status(server, target):
    server.status = 404
    with pytest.raises(ModelError, match=r"model.pt: cannot be fetched \(HTTP 404 Not Found\)"):
        fetch(server.url, target, SHA256, None)


def test_a_silent_server_is_not_waited_for_forever(server, target, monkeypatch):
    monkeypatch.setattr(fetching, "PATIENCE", 0.1)
    server.pauses_after = 0
    with pytest.raises(ModelError, match="cannot be fetched"):
        fetch(server.url, target, SHA256, None)


def test_only_the_web_is_fetched_from(target, tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(ModelError, match="cannot be fetched"):
        fetch((tmp_path / "secret").as_uri(), target, SHA256, None)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_disk_that_fills_up_keeps_what_has_come(server, target):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
    with start(server, target, before=full) as process:
        line = process.communicate()[1].strip()
    assert process.returncode == 1
    assert line.startswith(f"{target}: cannot be written (")
    assert "POCKETSAM_HOME" in line
    assert "\n" not in line
    have = part_of(target).stat().st_size
    assert 0 < have <= 600_000

    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT
    assert server.requests[1] == (f"bytes={have}-", len(CONTENT) - have)


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        fetch(server.url, tmp_path / "file" / "model.pt", SHA256, None)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_an_interrupted_transfer_keeps_what_has_come(server, target):
    server.pauses_after = 700_000
    with start(server, target) as process:
        while not (part_of(target).exists() and part_of(target).stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == -signal.SIGINT, said
    have = part_of(target).stat().st_size
    assert left_beside(target) == {"model.pt.part"}

    server.pauses_after = None
    assert fetch(server.url, target, SHA256, None).read_bytes() == CONTENT
    assert server.requests[1][0] == f"bytes={have}-"


def test_two_processes_fetch_a_file_once(server, target):
    server.pauses_after = 300_000
    with start(server, target) as first:
        assert server.asked.wait(30)
        with start(server, target) as second:
            assert "another process is fetching model.pt; waiting" in second.stderr.readline()
            server.go.set()
            assert second.wait() == first.wait() == 0
    assert target.read_bytes() == CONTENT
    assert server.requests == [(None, len(CONTENT))]


def zipped(**members: bytes) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def test_of_a_zip_only_the_member_wanted_is_kept(server, target):
    server.content = zipped(**{"readme.txt": b"hello", "model.pt": CONTENT})
    assert fetch(server.url, target, SHA256, len(CONTENT), "model.pt").read_bytes() == CONTENT
    assert left_beside(target) == {"model.pt"}


def test_a_zip_is_resumed_too(server, target):
    server.content = zipped(**{"model.pt": CONTENT})
    server.breaks_after = 700_000
    with pytest.raises(ModelError, match="broke off"):
        fetch(server.url, target, SHA256, len(CONTENT), "model.pt")
    server.breaks_after = None
    assert fetch(server.url, target, SHA256, len(CONTENT), "model.pt").read_bytes() == CONTENT
    assert server.requests[1][0].startswith("bytes=")


LYING = zipped(**{"model.pt": CONTENT}).replace(
    len(CONTENT).to_bytes(4, "little"), (999).to_bytes(4, "little")
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (zipped(**{"../model.pt": CONTENT}), "no item named 'model.pt'"),
        (zipped(**{"other.pt": CONTENT}), "no item named 'model.pt'"),
        (zipped(**{"model.pt": bytes(50_000_000)}), "would have 50000000 bytes, not 1000000"),
        (LYING, "Bad CRC-32"),
        (zipped(**{"model.pt": CONTENT})[:-200], "not a zip file"),
        (CONTENT, "not a zip file"),
    ],
    ids=["outside", "missing", "bomb", "bomb that lies", "truncated", "no zip"],
)
def test_a_zip_that_is_not_as_it_should_be_leaves_nothing(server, target, content, complaint):
    server.content = content
    with pytest.raises(ModelError, match=complaint) as refusal:
        fetch(server.url, target, SHA256, len(CONTENT), "model.pt")
    assert str(refusal.value).startswith(f"{server.url}: is not a zip that holds model.pt")
    assert str(target) in str(refusal.value)
    assert left_beside(target) == set()
    assert {path.name for path in target.parents[1].iterdir()} == {"model"}
