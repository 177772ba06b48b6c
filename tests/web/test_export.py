"""`pocketsam export web`: the files of the site, and where ONNX Runtime Web comes from."""

import hashlib
import io
import json
import tarfile

import pytest

from commands import run
from pocketsam.errors import InputError, ModelError
from pocketsam.export import onnxruntime_web
from pocketsam.export.onnxruntime_web import FILES, registry, runtime_files
from pocketsam.export.web import export_web
from pocketsam.zoo import PACKAGED

RUNTIME = {name: name.encode() for name in FILES}


@pytest.fixture
def package(tmp_path):
    """A folder as npm makes it."""
    folder = tmp_path / "onnxruntime-web" / "dist"
    folder.mkdir(parents=True)
    for name, content in RUNTIME.items():
        (folder / name).write_bytes(content)
    return folder.parent


@pytest.fixture
def no_settings(monkeypatch, tmp_path):
    """No settings of npm."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
    return tmp_path / "npmrc"


def test_the_command_writes_a_site_in_which_all_files_are_there(tmp_path, package, monkeypatch, capsys):
    site = tmp_path / "site"
    code, printed, _ = run(monkeypatch, capsys, "export", "web", "-o", site, "--onnxruntime-web", package)
    assert code == 0
    assert str(site) in printed
    lines = (site / "sw.js").read_text().splitlines()
    small = json.loads(lines[1].removeprefix("const FILES = ").removesuffix(";"))
    assert all((site / name).is_file() for name in small)
    others = {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()} - {*small, "sw.js"}
    assert {name.split("/")[0] for name in others} == {"model", "onnxruntime-web"}
    assert (site / "model" / "encoder.onnx").read_bytes() == (PACKAGED / "encoder.onnx").read_bytes()
    assert not (site / "static" / "http.js").exists()


def test_the_page_names_its_files_relative_to_itself_and_may_connect_to_its_host_only(tmp_path):
    export_web(PACKAGED, tmp_path, RUNTIME)
    page = (tmp_path / "index.html").read_text()
    assert '"/static' not in page
    assert 'src="static/alone/main.js"' in page
    assert "connect-src 'self';" in page
    assert 'href="manifest.webmanifest"' in page


def test_a_site_of_other_files_has_another_version(tmp_path):
    versions = set()
    for content in (b"one", b"other", b"one"):
        export_web(PACKAGED, tmp_path, RUNTIME | {FILES[0]: content})
        versions.add((tmp_path / "sw.js").read_text().splitlines()[0])
    assert len(versions) == 2


def test_a_model_beyond_2_gb_is_refused(tmp_path):
    (tmp_path / "encoder-0123-float32.onnx.data").write_bytes(b"")
    with pytest.raises(InputError, match=r"onnx\.data: a model of more than 2 GB"):
        export_web(tmp_path, tmp_path / "site", RUNTIME)


def test_a_folder_without_the_files_is_refused(tmp_path, package, monkeypatch, capsys):
    (package / "dist" / FILES[-1]).unlink()
    words = "export", "web", "-o", tmp_path / "site", "--onnxruntime-web", package
    code, _, line = run(monkeypatch, capsys, *words)
    assert code == 2
    assert f"holds no {FILES[-1]}" in line
    assert not (tmp_path / "site").exists()


def test_the_package_is_fetched_once_and_verified(host, home, no_settings, monkeypatch, tmp_path):
    archive = tmp_path / "served" / "onnxruntime-web" / "-" / f"onnxruntime-web-{onnxruntime_web.VERSION}.tgz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as package:
        for name, content in RUNTIME.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))
    address, server = host(tmp_path / "served")
    no_settings.write_text(f"; of a company\nregistry={address}\n")
    with pytest.raises(ModelError, match="--onnxruntime-web FOLDER"):
        runtime_files()  # it is not the published one
    monkeypatch.setattr(onnxruntime_web, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(onnxruntime_web, "BYTES", archive.stat().st_size)
    assert runtime_files() == RUNTIME
    asked = len(server.paths)
    assert runtime_files() == RUNTIME
    assert len(server.paths) == asked
    (home / archive.name).unlink()


def test_without_a_connection_one_line_says_what_to_do(no_settings, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    code, _, line = run(monkeypatch, capsys, "export", "web", "-o", tmp_path / "site")
    assert code == 2
    assert "cannot be fetched" in line
    assert "--onnxruntime-web FOLDER" in line
    assert len(line.splitlines()) == 1


def test_the_registry_is_that_of_npms_settings(no_settings, monkeypatch):
    assert registry() == onnxruntime_web.REGISTRY
    no_settings.write_text(
        '@scope:registry=https://other.example\n#registry=x\nregistry = "https://a.example/npm/"\n'
    )
    assert registry() == "https://a.example/npm"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://b.example/")
    assert registry() == "https://b.example"
