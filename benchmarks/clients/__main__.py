"""Programs that build on segment_anything, run on pocketsam.compat: python benchmarks/clients [-o docs/clients.md]

Each check is a script in this folder, run by `python -m pocketsam.compat`, so that the program's own imports of
segment_anything give PocketSAM. `make clients` makes the environment with the programs, and runs this. Results are
kept in out/clients/, a file a check, and the page is made of all of them, so that checks can be run one by one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / "out" / "clients"


@dataclass(frozen=True)
class Client:
    """A program, by its name in the registry.

    check: the script, check_NAME.py. tries: what the script does. lines: with how many lines it says what it found.
    needs: the environment variable without which it is left out.
    """

    package: str
    check: str
    tries: str
    lines: int = 1
    needs: str = ""


CLIENTS = (
    Client("segment-anything", "published", "231 predictor cases and six generators on the same ViT-B", 7),
    Client("segment-anything", "onnx_decoder", "the decoder in one ONNX file, its own export and ours", 3),
    Client("segment-anything", "engine", "a checkpoint file as a module, and by the fastest engine"),
    Client("segment-geospatial", "segment_geospatial", "`SamGeo` automatic and prompted, `SamGeoPredictor`"),
    Client(
        "napari-segment-anything",
        "napari_segment_anything",
        "its own tests, on a virtual display, with napari's former `add_labels(color=…)`",
    ),
    Client(
        "samexporter",
        "samexporter",
        "its own tests, its exporters, its runner, and our engines on its files",
    ),
    Client(
        "micro-sam", "micro_sam", "loading, embeddings, prompts, batches, everything mode, its checkpoints"
    ),
    Client(
        "label-studio-ml",
        "label_studio_ml",
        "`SAMPredictor` of its SAM backend, which is in its repository only, in the modes SAM, MobileSAM and ONNX",
        needs="LABEL_STUDIO_ML_BACKEND",
    ),
    Client("supervision", "supervision", "`Detections.from_sam` in all output modes"),
    Client("transformers", "transformers", "a file of `save_pretrained`, against its own forward"),
)

PAGE = """# Clients of segment_anything

Programs that build on `segment_anything`, installed from the registry, run on
[`pocketsam.compat`](how-to/move-from-segment-anything.md) without a change to them. Weights are synthetic: a ViT-B,
or SAM's network with two narrow blocks where the program takes any. `make clients` installs the programs, runs the
checks in `benchmarks/clients/` and writes this page; `--only NAME` runs one, as in
`.venv-clients/bin/python benchmarks/clients --only published -o docs/clients.md`.

| program | version | what is run | result | seconds |
|---|---|---|---|---|
{rows}

{details}
The SAM backend of label-studio-ml is in none of its releases, neither wheel nor source archive: it is run from a
clone of its repository, whose path is given as `LABEL_STUDIO_ML_BACKEND`. napari's tests run on a virtual display:
Xvfb, with OpenGL by Mesa. Where PyTorch is built for CPUs only, torchvision's compiled operators do not load; then
`benchmarks/clients/torchvision_cpu.py` gives these programs the one that they call. Seconds in the table are those of
a busy core, and say nothing about speed; those below are processor time of one thread. The decoder's ms are of a
click on a photo of 684 × 1024 pixels, and its differences are of the standard deviation.
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path, help="the page to write; printed, if not given")
    parser.add_argument(
        "--only", help='the one check to run; "none" writes the page of the results that there are'
    )
    parser.add_argument("--timeout", type=float, default=7200, help="seconds for each check")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    chosen = [
        client for client in CLIENTS if options.only in (None, client.check) and has_what_it_needs(client)
    ]
    results = [run(client, options.timeout) for client in chosen]
    text = page()
    if options.output:
        options.output.write_text(text)
    print(text)
    sys.exit(not all(result["runs"] for result in results))


def run(client: Client, timeout: float) -> dict[str, Any]:
    """Run a check, and keep its result."""
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "pocketsam.compat", FOLDER / f"check_{client.check}.py"],
            stdout=subprocess.PIPE,
            timeout=timeout,
            check=False,
            text=True,
            env=os.environ | {"TQDM_DISABLE": "1"},
        )
        runs, printed = done.returncode == 0, done.stdout.strip().splitlines()[-client.lines :]
    except subprocess.TimeoutExpired:
        runs, printed = False, [f"not done after {timeout:.0f} s"]
    result = {
        "runs": runs,
        "version": version_of(client.package),
        "seconds": round(time.monotonic() - start),
        "printed": printed,
    }
    (RESULTS / f"{client.check}.json").write_text(json.dumps(result))
    return result


def has_what_it_needs(client: Client) -> bool:
    return not client.needs or client.needs in os.environ


def page() -> str:
    """All results, and which checks were not run."""
    rows, details = [], []
    for client in CLIENTS:
        path = RESULTS / f"{client.check}.json"
        if not path.exists():
            why = "" if has_what_it_needs(client) else f": {client.needs} is not set"
            rows.append(
                f"| {client.package} | {version_of(client.package)} | {client.tries} | not run{why} | |"
            )
            continue
        result = json.loads(path.read_text())
        said = "runs" if result["runs"] else "fails"
        rows.append(
            f"| {client.package} | {result['version']} | {client.tries} | {said} | {result['seconds']} |"
        )
        details.append(
            f"{client.package}, {client.tries}:\n\n```\n" + "\n".join(result["printed"]) + "\n```\n"
        )
    return PAGE.format(rows="\n".join(rows), details="\n".join(details))


def version_of(package: str) -> str:
    """The installed version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
