"""The page's own run lengths and outlines, in Node, are those of the library."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from pocketsam.predict.outlines import polygons_with_holes
from pocketsam.server.app import STATIC
from pocketsam.utils.rle import encode

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")
SCRIPT = """
const { decode, encode } = await import(`${process.argv[1]}/rle.js`);
const { outlines } = await import(`${process.argv[1]}/outlines.js`);
const { painted } = await import(`${process.argv[1]}/strokes.js`);
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const masks = asked.masks.map((rle) => ({ again: encode(decode(rle)), polygons: outlines(decode(rle)) }));
const strokes = asked.strokes.map(([rle, strokes]) => painted(rle, strokes, rle.size[1], rle.size[0]).rle);
process.stdout.write(JSON.stringify({ masks, strokes }));
"""


def run(folder, masks=(), strokes=()):
    """What the scripts of the page make of masks, and of (mask, strokes)."""
    for file in STATIC.glob("*.js"):
        shutil.copy(file, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    script = f"(async () => {{{SCRIPT}}})()"
    asked = json.dumps({"masks": masks, "strokes": strokes})
    command = [NODE, "--input-type=commonjs", "-e", script, folder]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def random_masks():
    """Blobs with holes, islands in holes, lines and single pixels; all, nothing, and the photo's edges."""
    random = np.random.default_rng(0)
    for side in (1, 2, 3, 7, 20, 60):
        for density in (0.1, 0.5, 0.9):
            yield random.random((side, side + 3)) < density
    yield np.zeros((5, 9), bool)
    yield np.ones((9, 5), bool)
    smooth = np.add.outer(np.sin(np.arange(300) / 9), np.cos(np.arange(400) / 17)) > 0.1
    yield smooth & (random.random(smooth.shape) > 0.001)


def test_run_lengths_and_outlines_are_those_of_the_library(tmp_path):
    masks = [encode(mask) for mask in random_masks()]
    for rle, found in zip(masks, run(tmp_path, masks)["masks"], strict=True):
        assert found["again"] == rle
        expected = [[ring.tolist() for ring in part] for part in polygons_with_holes(rle)]
        assert sorted(map(outer_and_holes, found["polygons"])) == sorted(map(outer_and_holes, expected))


def outer_and_holes(part):
    """The rings of a part, each from its first corner on."""
    outer, *holes = [ring[ring.index(min(ring)) :] + ring[: ring.index(min(ring))] for ring in part]
    return outer, sorted(holes)


def test_a_stroke_sets_the_pixels_within_its_radius(tmp_path):
    empty = encode(np.zeros((50, 80), bool))
    line = {"points": [[10, 20], [60, 20]], "radius": 6, "adds": True}
    middle = {"points": [[35.5, 20.5]], "radius": 3, "adds": False}
    outside = {"points": [[-5, -5], [200, -5]], "radius": 5.4, "adds": True}
    y, x = np.mgrid[0:50, 0:80] + 0.5
    added = np.hypot(x - x.clip(10, 60), y - 20) <= 6
    both = added & (np.hypot(x - 35.5, y - 20.5) > 3)
    found = run(tmp_path, strokes=[[empty, [line]], [encode(added), [middle]], [empty, [outside]]])["strokes"]
    assert found == [encode(added), encode(both), empty]
