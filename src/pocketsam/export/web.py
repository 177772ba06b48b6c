"""A site that runs a model in the visitor's browser, without a server of its own: any host of static files will do.

Its page is that of `pocketsam serve`; in `web/src/alone` is what stands in the place of the server. After the first
visit a service worker has all files, so that the site works offline.

    index.html               the page
    sw.js                    the service worker
    manifest.webmanifest     what makes it an app that can be installed
    static/                  scripts and style
    model/                   the model's ONNX files and model.json
    onnxruntime-web/         what runs them
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pocketsam.errors import InputError
from pocketsam.graphs import CONFIG_FILE, ONNX_FILES
from pocketsam.utils.files import write

PAGE = Path(__file__).parents[1] / "server" / "static"
"""The page of `pocketsam serve`, and the scripts of `web/`, built."""
SERVER_ONLY = ("serve.js", "http.js", "alone/sw.js")
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; connect-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'none'"
)
"""The page may connect to its own host only: no photo can be sent elsewhere."""
MANIFEST = {
    "name": "PocketSAM",
    "short_name": "PocketSAM",
    "description": "Click on it: masks of objects in photos, made on this device.",
    "start_url": "./",
    "display": "standalone",
    "background_color": "#15191a",
    "theme_color": "#0f766e",
    "icons": [{"src": "static/icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}],
}
LARGE = ("model/", "onnxruntime-web/")
"""Folders of which a browser keeps what it has used; it keeps all of the others at the first visit."""


def export_web(model: Path, site: Path, runtime: Mapping[str, bytes]) -> int:
    """Write the site of the model in a folder of ONNX files; returns its size in bytes.

    site: a folder; files of the site that are there already are replaced, others stay.
    runtime: the files of ONNX Runtime Web by their names.
    Raises InputError when the model is too large for a browser, or a file cannot be written.
    """
    files = {"index.html": _page(), "manifest.webmanifest": json.dumps(MANIFEST, indent=1).encode()}
    files |= {f"static/{name}": content for name, content in _scripts().items()}
    files |= {f"model/{name}": content for name, content in _model(model).items()}
    files |= {f"onnxruntime-web/{name}": content for name, content in runtime.items()}
    files["sw.js"] = _service_worker(files)
    for name, content in files.items():
        write(site / name, content)
    return sum(map(len, files.values()))


def _page() -> bytes:
    """The page with its own script, which needs no server, and with the manifest."""
    page = (PAGE / "index.html").read_text()
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<link rel="manifest" href="manifest.webmanifest">\n'
        '<meta name="theme-color" content="#0f766e">\n'
    )
    return (
        page.replace("static/serve.js", "static/alone/main.js").replace("<title>", f"{head}<title>").encode()
    )


def _scripts() -> dict[str, bytes]:
    names = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in sorted(names.items())
        if path.suffix != ".html" and name not in SERVER_ONLY
    }


def _model(folder: Path) -> dict[str, bytes]:
    outside = next(folder.glob("*.onnx.data"), None)
    if outside is not None:
        raise InputError(
            f"{outside}: a model of more than 2 GB does not fit into a browser; choose a smaller one"
        )
    return {name: (folder / name).read_bytes() for name in (*ONNX_FILES, CONFIG_FILE)}


def _service_worker(files: Mapping[str, bytes]) -> bytes:
    """The script, after a digest of the site and the names of those files that are kept at the first visit."""
    script = (PAGE / "alone" / "sw.js").read_bytes()
    digest = hashlib.sha256(script)
    for name, content in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(content).digest())
    small = sorted(name for name in files if not name.startswith(LARGE))
    facts = f"const VERSION = {json.dumps(digest.hexdigest()[:16])};\nconst FILES = {json.dumps(small)};\n"
    return facts.encode() + script
