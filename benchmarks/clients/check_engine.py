"""The module that a checkpoint file gives, and the fastest engine on the same file: time, and how far they differ."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import photo, vit_b_checkpoint

from pocketsam.compat import SamPredictor, sam_model_registry
from pocketsam.compat.engine_model import EngineModel

CLICKS = [np.array([[60 + 30 * i, 100 + 20 * i]]) for i in range(10)]

torch.set_num_threads(1)
image = photo()
with tempfile.TemporaryDirectory() as name:
    checkpoint = vit_b_checkpoint(Path(name))
    models = {
        "module": sam_model_registry["vit_b"](checkpoint=checkpoint),
        "engine": EngineModel(checkpoint),
    }
    info = models["engine"].engine.info
    answers, encoding, clicking = {}, {}, {}
    for who, model in models.items():
        predictor = SamPredictor(model)
        start = time.process_time()
        predictor.set_image(image)
        encoding[who] = round(time.process_time() - start, 1)
        predictor.predict(CLICKS[0], np.ones(1))
        start = time.process_time()
        answers[who] = [predictor.predict(click, np.ones(1)) for click in CLICKS]
        clicking[who] = round(1000 * (time.process_time() - start) / len(CLICKS))
wrong = [int((a[0] != b[0]).sum()) for a, b in zip(*answers.values(), strict=True)]
iou = max(float(abs(a[1] - b[1]).max()) for a, b in zip(*answers.values(), strict=True))
report = {
    "engine": f"{info.name}, {info.numerics}",
    "seconds to encode": encoding,
    "ms a click": clicking,
    "clicks": len(CLICKS),
    "with a differing pixel": sum(map(bool, wrong)),
    "differing pixels": sum(wrong),
    "predicted IoU": iou,
}
print(json.dumps(report))
