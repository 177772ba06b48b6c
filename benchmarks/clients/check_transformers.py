"""transformers: a folder of its SamModel, by the builder, the predictor, and its own forward."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import photo
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from pocketsam.compat import SamPredictor, build_sam

torch.manual_seed(0)
vision = SamVisionConfig(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, mlp_dim=256, global_attn_indexes=[1]
)
config = SamConfig(
    vision_config=vision,
    prompt_encoder_config=SamPromptEncoderConfig(),
    mask_decoder_config=SamMaskDecoderConfig(),
)
theirs = SamModel(config)
with tempfile.TemporaryDirectory() as name, torch.no_grad():
    for parameter in theirs.parameters():
        parameter.normal_(std=0.1)
    theirs.eval().save_pretrained(name)
    predictor = SamPredictor(build_sam(Path(name, "model.safetensors")))
    predictor.set_image(photo())
    pixels = predictor.model.preprocess(
        torch.from_numpy(predictor.transform.apply_image(photo())).permute(2, 0, 1)[None]
    )
    points = torch.tensor([[[[300.0, 500.0]]]])
    expected = theirs(pixel_values=pixels, input_points=points, input_labels=torch.ones(1, 1, 1).long())
    _, iou, logits = predictor.predict_torch(points[0], torch.ones(1, 1))
    difference = float((logits - expected.pred_masks[0]).abs().max() / expected.pred_masks.std())
assert difference < 1e-3 and np.isfinite(iou.numpy()).all()
print(f"save_pretrained's file: logits differ by at most {difference:.0e} of their standard deviation")
