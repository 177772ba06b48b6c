"""supervision: Detections of what the generator finds, in arrays and run lengths."""

import tempfile
from pathlib import Path

import supervision
from common import photo, small_checkpoint

from pocketsam.compat import SamAutomaticMaskGenerator, build_sam

with tempfile.TemporaryDirectory() as name:
    sam = build_sam(small_checkpoint(Path(name)))
sam.mask_threshold = 0.8  # above most logits of these weights, so that masks differ from each other
found = {}
for mode in ("binary_mask", "uncompressed_rle", "coco_rle"):
    generator = SamAutomaticMaskGenerator(
        sam, 6, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=0.99, output_mode=mode
    )
    found[mode] = supervision.Detections.from_sam(generator.generate(photo()))
first = found["binary_mask"]
assert len(first)
assert all((other.mask == first.mask).all() for other in found.values())
print(f"Detections.from_sam: {len(first)} masks, the same in all output modes")
