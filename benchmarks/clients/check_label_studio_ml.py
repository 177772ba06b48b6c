"""label-studio-ml's SAM backend: its `SAMPredictor`, in its three modes, on clicks and a box.

The backend is in no release of label-studio-ml, neither wheel nor source, but in its repository only (which
HumanSignal keeps on GitHub under the name label-studio-ml-backend). LABEL_STUDIO_ML_BACKEND is the path of a clone of
it. Of the repository's own modules `SAMPredictor` takes a cache, which is stood in for.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from common import SAMPLES, small_checkpoint, small_under_every_name

from pocketsam.engines.source import onnx_folder
from pocketsam.export.segment_anything import export_segment_anything


class Cache(dict):
    """What it calls InMemoryLRUDictCache, for the one photo."""

    def __init__(self, capacity: int) -> None:
        super().__init__()

    put = dict.__setitem__


backend = Path(os.environ["LABEL_STUDIO_ML_BACKEND"], "label_studio_ml", "examples", "segment_anything_model")
sys.path.insert(0, str(backend))
utils = ModuleType("label_studio_ml.utils")
utils.InMemoryLRUDictCache = Cache
sys.modules["label_studio_ml.utils"] = utils
small_under_every_name()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    checkpoint = small_checkpoint(folder)
    _, decoder, _ = export_segment_anything(onnx_folder(checkpoint, None), folder / "exported")
    os.environ |= {
        "VITH_CHECKPOINT": str(checkpoint),
        "MOBILESAM_CHECKPOINT": str(checkpoint),
        "ONNX_CHECKPOINT": str(decoder),
    }
    from sam_predictor import SAMPredictor

    clicks = {"point_coords": [[180, 250], [100, 300], [250, 200]], "point_labels": [1, 1, 0]}
    found = {}
    for mode in ("SAM", "MobileSAM", "ONNX"):
        predictor = SAMPredictor(mode)
        for prompt in (clicks, clicks | {"input_box": [20, 130, 342, 371]}):
            answer = predictor.predict(
                "sneakers",
                **prompt,
                task={"id": 1},
                path_resolver=lambda *_, **__: str(SAMPLES / "sneakers.jpg"),
            )
            found.setdefault(mode, []).append(answer["masks"][0])
assert all(mask.shape == (400, 429) and mask.any() for masks in found.values() for mask in masks)
differing = max(
    int((a != b).sum())
    for mode in ("MobileSAM", "ONNX")
    for a, b in zip(found["SAM"], found[mode], strict=True)
)
assert differing < 10, differing
code = (backend / "sam_predictor.py").read_bytes()
blob = hashlib.sha1(b"blob %d\0" % len(code) + code).hexdigest()
print(
    f"sam_predictor.py (Git's blob {blob[:12]}), with clicks, and with clicks and a box, in the modes SAM,"
    f" MobileSAM and ONNX (the decoder of `pocketsam export segment-anything`): masks differ in at most {differing}"
    " pixels"
)
