"""Predictor and generator run where PyTorch and the other extras are not installed."""

import subprocess
import sys

SCRIPT = """
import sys
for extra in ("torch", "onnx", "safetensors", "openvino"):
    sys.modules[extra] = None

import numpy as np
from PIL import Image
from pocketsam.compat import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

image = np.array(Image.open(sys.argv[1]))
sam = sam_model_registry["vit_t"](checkpoint="pocket").to(device="cpu")
predictor = SamPredictor(sam)
predictor.set_image(image)
masks, iou, logits = predictor.predict(box=np.array([20, 130, 342, 371]), multimask_output=False)
assert masks.any() and masks.shape == (1, *image.shape[:2]) and logits.shape == (1, 128, 128)
assert isinstance(predictor.get_image_embedding(), np.ndarray)

generator = SamAutomaticMaskGenerator(sam, 3, pred_iou_thresh=0.1, stability_score_thresh=0.1, output_mode="coco_rle")
found = generator.generate(image)
assert found and all(isinstance(record["segmentation"]["counts"], str) for record in found)
print("ran to the end")
"""


def test_without_torch(samples):
    command = [sys.executable, "-c", SCRIPT, str(samples / "sneakers.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "ran to the end\n", done.stderr
