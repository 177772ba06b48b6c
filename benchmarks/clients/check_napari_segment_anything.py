"""napari-segment-anything's own tests: clicks in its widget."""

import os
import shutil
import tempfile
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import napari
import napari_segment_anything
import pytest
from common import small_checkpoint, small_under_every_name
from napari_segment_anything import _widget

small_under_every_name()
folder = tempfile.mkdtemp()
checkpoint = small_checkpoint(Path(folder))
_widget.get_weights_path = lambda model_type: checkpoint  # which would fetch the published ones
add_labels = napari.Viewer.add_labels


def without_color(viewer: napari.Viewer, *values: object, color: object = None, **named: object) -> object:
    """The program was written for a napari whose labels took a `color`; newer ones refuse it."""
    return add_labels(viewer, *values, **named)


napari.Viewer.add_labels = without_color
tests = Path(napari_segment_anything.__file__).parent / "_tests"
code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests)])
shutil.rmtree(folder)
assert code == 0
print("its own tests: clicks on photos of two types of numbers, confirmed as labels")
