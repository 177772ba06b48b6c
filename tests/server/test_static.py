"""The built page is that of its sources."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pocketsam.server.app import STATIC

WEB = Path(__file__).parents[2] / "web"
COMPILER = WEB / "node_modules" / ".bin" / "tsc"


@pytest.mark.skipif(
    not (COMPILER.exists() and shutil.which("node")), reason="needs Node and `make page`'s packages"
)
def test_the_scripts_are_built_from_the_sources(tmp_path):
    subprocess.run([COMPILER, "--outDir", tmp_path], cwd=WEB, check=True)
    assert texts(tmp_path) == texts(STATIC)


def texts(folder):
    """The scripts in a folder and its folders."""
    return {file.relative_to(folder): file.read_text() for file in folder.rglob("*.js")}


def test_each_source_has_a_script():
    sources = {file.relative_to(WEB / "src").with_suffix(".js") for file in (WEB / "src").rglob("*.ts")}
    assert sources == texts(STATIC).keys()
