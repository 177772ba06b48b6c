"""segment-geospatial: SamGeo by itself and by prompts, and SamGeoPredictor, whose __init__ calls no other."""

import os
import tempfile
from pathlib import Path

import numpy as np
from common import SAMPLES, photo, small_checkpoint, small_under_every_name
from samgeo import SamGeo
from samgeo.samgeo import SamGeoPredictor

small_under_every_name()
with tempfile.TemporaryDirectory() as name:
    folder, image = Path(name), str(SAMPLES / "sneakers.jpg")
    checkpoint = str(small_checkpoint(folder))
    os.chdir(folder)
    options = {"points_per_side": 6, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    automatic = SamGeo("vit_b", device="cpu", checkpoint=checkpoint, sam_kwargs=options)
    automatic.mask_generator.predictor.model.mask_threshold = (
        0.8  # above most logits, so that there are several masks
    )
    automatic.generate(image, output="masks.tif", foreground=True, unique=True)
    assert automatic.masks and Path("masks.tif").stat().st_size

    prompted = SamGeo("vit_b", automatic=False, device="cpu", checkpoint=checkpoint)
    prompted.set_image(image)
    prompted.predict(point_coords=[[180, 250]], point_labels=[1], output="point.tif")
    assert Path("point.tif").stat().st_size
    predictor = SamGeoPredictor(prompted.sam)
    predictor.set_image(photo())
    masks, scores, logits = predictor.predict(box=np.array([20, 130, 342, 371]))
    assert masks.shape == (3, 400, 429) and masks.any() and logits.shape == (3, 256, 256)
    print(
        f"SamGeo: {len(automatic.masks)} masks of a photo, a GeoTIFF of them, one of a click; SamGeoPredictor: a box"
    )
