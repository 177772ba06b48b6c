"""micro-sam: loading, embeddings, prompts, everything mode, and its checkpoints, on a ViT-B."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import photo, vit_b_checkpoint
from micro_sam import util
from micro_sam.inference import batched_inference
from micro_sam.instance_segmentation import AutomaticMaskGenerator
from micro_sam.prompt_based_segmentation import segment_from_box, segment_from_points

with tempfile.TemporaryDirectory() as name:
    plain = vit_b_checkpoint(Path(name))
    trained = Path(name, "trained.pt")
    weights = {f"sam.{key}": tensor for key, tensor in torch.load(plain, weights_only=True).items()}
    torch.save({"model_state": weights, "epoch": 3}, trained)
    image = photo("cap").mean(2).astype(np.uint8)
    masks = []
    for checkpoint in (plain, trained):
        predictor = util.get_sam_model("vit_b", device="cpu", checkpoint_path=str(checkpoint))
        embeddings = util.precompute_image_embeddings(predictor, image, verbose=False)
        util.set_precomputed(predictor, embeddings)
        masks.append(segment_from_points(predictor, np.array([[200, 200]]), np.array([1])))
        boxed = segment_from_box(predictor, np.array([100, 100, 300, 300]))
        assert masks[-1].shape == boxed.shape == (1, *image.shape)
    assert (masks[0] == masks[1]).all()
    several = batched_inference(
        predictor,
        image,
        batch_size=2,
        boxes=np.array([[50, 50, 200, 200], [100, 100, 300, 300]]),
        verbose_embeddings=False,
    )
    assert several.shape == image.shape
    generator = AutomaticMaskGenerator(predictor, points_per_side=4)
    generator.initialize(image, image_embeddings=embeddings, verbose=False)
    found = generator.generate(pred_iou_thresh=0.0, stability_score_thresh=0.0)
    print(
        f"its checkpoint (model_state) and a plain one: the same mask; embeddings, points, boxes, batches;"
        f" everything mode: {len(np.unique(found)) - 1 if isinstance(found, np.ndarray) else len(found)} objects"
    )
