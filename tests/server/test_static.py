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
    built = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert built == {file.name: file.read_text() for file in STATIC.glob("*.js")}


def test_each_source_has_a_script():
    assert {file.stem for file in (WEB / "src").glob("*.ts")} == {file.stem for file in STATIC.glob("*.js")}
