"""Which shards there are in what is given, and what is in them."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from pocketsam.errors import DataError, InputError
from pocketsam.scale import shards
from pocketsam.scale.run import run
from pocketsam.scale.shards import are_shards, find_shards
from pocketsam.scale.storage import shown, storage_path
from scaling import Greys, published, write_photos
from shards import jpeg, write_tar


def test_archives_folders_of_archives_and_photos_become_shards_and_photos_keep_their_order(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(shards, "PHOTOS", 2)
    write_photos(tmp_path / "b.tar", ["x/2", "x/1"])
    write_photos(tmp_path / "a.tar", ["3"])
    loose = tmp_path / "loose"
    loose.mkdir()
    for name in ("e.jpg", "d.jpg", "c.jpg", ".hidden.jpg", "notes.txt"):
        (loose / name).write_bytes(jpeg(np.zeros((4, 4, 3), np.uint8)))
    found = find_shards([tmp_path, loose])
    assert [shard.name for shard in found] == ["a", "b", "loose-00000", "loose-00001"]
    assert [[photo.file_name for photo in shard.read()] for shard in found] == [
        ["3.jpg"],
        ["x/2.jpg", "x/1.jpg"],
        ["c.jpg", "d.jpg"],
        ["e.jpg"],
    ]
    assert are_shards([tmp_path]) and are_shards([tmp_path / "a.tar"]) and are_shards(["s3://bucket/photos"])
    assert not are_shards([loose, loose / "e.jpg"])


def test_what_cannot_be_shards_is_refused_in_a_line(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty: there are neither tar shards nor photos"):
        find_shards([empty])
    with pytest.raises(InputError, match=r"none\.tar: there is no such file"):
        find_shards([tmp_path / "none.tar"])
    for folder in ("p", "q"):
        (tmp_path / folder).mkdir()
        write_photos(tmp_path / folder / "s.tar", ["1"])
    with pytest.raises(InputError, match="has the same name as"):
        find_shards([tmp_path / "p", tmp_path / "q"])


def test_an_archive_that_ends_too_early_is_damaged_and_one_without_photos_is_empty(tmp_path):
    whole = write_photos(tmp_path / "s.tar", ["1", "2"])
    whole.write_bytes(whole.read_bytes()[:1600])
    with pytest.raises(DataError, match=r"s\.tar: not a readable tar shard"):
        list(find_shards([whole])[0].read())
    assert list(find_shards([write_tar(tmp_path / "t.tar", [("a.json", b"{}")])])[0].read()) == []


def test_a_path_may_be_a_url_of_which_a_path_dropped_a_slash_and_credentials_are_never_shown(tmp_path):
    assert str(storage_path("s3:/bucket/photos")) == "s3://bucket/photos"
    assert str(storage_path("s3://bucket/photos/") / "a.tar") == "s3://bucket/photos/a.tar"
    assert shown("https://host/a.tar?X-Amz-Signature=secret") == "https://host/a.tar"
    with pytest.raises(InputError, match="holds credentials") as refused:
        storage_path("s3://key:secret@bucket/photos")
    assert "secret" not in str(refused.value)


def test_a_shard_is_read_from_an_http_server_to_which_nothing_can_be_written(tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec's http:// is not installed: pip install -e '.[scale]'")
    write_photos(tmp_path / "s.tar", ["1", "2"])
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        summary = run(Greys(), [f"{url}/s.tar?signature=secret"], tmp_path / "out")
        assert (summary.total("photos"), summary.failed) == (2, [])
        assert b"secret" not in b"".join(published(tmp_path / "out").values())
        with pytest.raises(InputError, match=r"none\.tar: there is no such file") as missing:
            find_shards([f"{url}/none.tar?signature=secret"])
        assert "secret" not in str(missing.value)
        with pytest.raises(InputError, match="cannot be written"):
            storage_path(f"{url}/out.tar").write([b"1"])
        server.shutdown()
