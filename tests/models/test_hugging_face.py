"""Hugging Face's `SamModel` and ours agree on the same weights, in the sizes of SAM-B and of SlimSAM."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pocketsam.models.architectures import architecture_of
from pocketsam.models.checkpoints import load_model
from pocketsam.models.encoders.sam_vit import SamViT
from pocketsam.models.sam import Sam

if TYPE_CHECKING:
    from transformers import SamModel

DEPTH = 3  # two blocks with windows and a global one: the others are the same again
SIDE = 512  # pixels: windows overhang, as at the published 1024, at a fraction of the cost
SIZES = {"sam_vit_b": (768, 3072), "slimsam_50": (384, 1536), "slimsam_77": (168, 696)}


@pytest.fixture(scope="module", params=SIZES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple["SamModel", Sam]:
    from transformers import SamConfig, SamModel, SamVisionConfig  # here: it takes seconds of every worker

    width, hidden = SIZES[request.param]
    torch.manual_seed(0)
    vision = SamVisionConfig(
        image_size=SIDE, hidden_size=width, mlp_dim=hidden, num_hidden_layers=DEPTH, global_attn_indexes=[2]
    )
    prompts = {"image_size": SIDE}
    theirs = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 1 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1)
        for name, parameter in theirs.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    path = tmp_path_factory.mktemp("hugging_face") / "model.safetensors"
    save_file({name: tensor.clone() for name, tensor in theirs.state_dict().items()}, path)
    sam, config = load_model(path)
    path.unlink()
    assert config.architecture == "", "three blocks are not the published twelve"
    return theirs, sam


@pytest.mark.parametrize("name", SIZES)
def test_the_published_sizes_are_recognised(name: str) -> None:
    width, hidden = SIZES[name]
    with torch.device("meta"):
        state = Sam(SamViT(width, hidden=hidden), 1024).state_dict()
    assert architecture_of({key: tuple(tensor.shape) for key, tensor in state.items()}) == name


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.std())


@torch.inference_mode()
def test_embedding_masks_and_iou_agree(pair: tuple["SamModel", Sam]) -> None:
    theirs, sam = pair
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    embedding = theirs.get_image_embeddings(pixels)
    close(sam.encode(pixels), embedding, 1e-4)

    points = torch.tensor([[[[150.0, 200.0], [350.0, 100.0]], [[15.0, 20.0], [450.0, 450.0]]]])
    labels = torch.tensor([[[1, 0], [1, 1]]])
    answer = theirs(image_embeddings=embedding, input_points=points, input_labels=labels)
    padding = torch.zeros(1, 2, 1, 2), torch.full((1, 2, 1), -1)
    tokens = torch.cat([points, padding[0]], 2), torch.cat([labels, padding[1]], 2)
    logits, iou = sam.decode(embedding, *tokens)
    # Its layer normalisations in the decoder have an epsilon of 1e-6; SAM's and ours have 1e-5.
    close(logits[:, :, 1:], answer.pred_masks, 1e-3)
    close(iou[:, :, 1:], answer.iou_scores, 1e-3)

    boxes = torch.tensor([[[50.0, 75.0, 350.0, 400.0]]])
    answer = theirs(image_embeddings=embedding, input_boxes=boxes, multimask_output=False)
    logits, iou = sam.decode(embedding, boxes.view(1, 1, 2, 2), torch.tensor([[[2, 3]]]))
    close(logits[:, :, :1], answer.pred_masks, 1e-3)
    np.testing.assert_allclose(iou[:, :, :1], answer.iou_scores, atol=1e-3)
