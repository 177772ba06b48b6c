"""napari-segment-anything's own tests: clicks in its widget, and everything mode.

They need a display with OpenGL. Where there is none, Xvfb is one, whose OpenGL Mesa computes (the Debian packages
xvfb, libgl1-mesa-dri, libxcb-cursor0, libxcb-icccm4, libxcb-keysyms1 and libxkbcommon-x11-0).
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

if "DISPLAY" not in os.environ:
    if not shutil.which("xvfb-run"):
        sys.exit("napari needs a display with OpenGL: install xvfb")
    display = ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24"]
    os.execvp(display[0], [*display, sys.executable, "-W", "ignore", "-m", "pocketsam.compat", __file__])

import napari
import napari_segment_anything
import pytest
import torch
from common import small_checkpoint, small_under_every_name
from napari_segment_anything import _widget

small_under_every_name()
add_labels = napari.Viewer.add_labels


def sure_checkpoint(folder: Path) -> Path:
    """Weights whose masks are stable and confident, so that everything mode's published thresholds let some pass."""
    path = small_checkpoint(folder)
    weights = torch.load(path, weights_only=True)
    weights["mask_decoder.iou_prediction_head.layers.2.bias"] += 1
    for name in weights:
        if "output_hypernetworks_mlps" in name and "layers.2" in name:
            weights[name] *= 100
    torch.save(weights, path)
    return path


def without_color(viewer: napari.Viewer, *values: object, color: object = None, **named: object) -> object:
    """The program was written for a napari whose labels took a `color`; newer ones refuse it."""
    return add_labels(viewer, *values, **named)


napari.Viewer.add_labels = without_color
tests = Path(napari_segment_anything.__file__).parent / "_tests"
with tempfile.TemporaryDirectory() as folder:
    checkpoint = sure_checkpoint(Path(folder))
    _widget.get_weights_path = lambda model_type: checkpoint  # which would fetch the published ones
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests)])
sys.exit(code)
