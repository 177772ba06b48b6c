"""SAM's automatic mask generation as it was published, in PyTorch eager: what `everything_speed.py` measures against.

Written plainly from the paper (arXiv 2304.02643, sections 3 and 5, appendices A and B), for a `Sam` module and its
weights: for every click the image's cells are copied, projected and normalised, all its masks are
computed, and all are brought to the image's resolution before any is dropped. Without crops; one image at a time.
Two steps are faster than published: normalisations are PyTorch's fused ones, and pycocotools makes the run lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pocketsam.config import FOREGROUND, ModelConfig
from pocketsam.models.mask_decoder import MASK_TOKENS, Attention, MaskDecoder, TwoWayTransformer, finer_maps
from pocketsam.models.sam import Sam
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.image import preprocess
from pocketsam.utils.rle import RLE, encode

PADDING = -1


@dataclass(frozen=True)
class Thresholds:
    """What a mask has to reach; of two whose boxes overlap by more than `box_nms`, the more confident one stays."""

    pred_iou: float = 0.88
    stability_score: float = 0.95
    stability_offset: float = 1.0
    box_nms: float = 0.7


@dataclass(frozen=True)
class Found:
    """The masks of an image, most confident first, and the seconds that encoding took, and all the rest."""

    rles: list[RLE]
    predicted_iou: list[float]
    encoding: float
    rest: float


@torch.inference_mode()
def reference_everything(
    sam: Sam,
    config: ModelConfig,
    image: NDArray[np.uint8],
    thresholds: Thresholds,
    points_per_side: int = 32,
    points_per_batch: int = 64,
    after_batch: Callable[[], object] = lambda: None,
) -> Found:
    """All masks of an image uint8 (H, W, 3) RGB; after_batch is called after each `points_per_batch` clicks."""
    start = perf_counter()
    embedding = sam.encode(torch.from_numpy(preprocess(image, config)))
    encoded = perf_counter()
    batches = []
    for points in grid(image, points_per_side).split(points_per_batch):
        batches.append(candidates(sam, config, image.shape[:2], embedding, points, thresholds))
        after_batch()
    rles = [rle for batch in batches for rle in batch[0]]
    confidence, boxes = (torch.cat([batch[i] for batch in batches]) for i in (1, 2))
    kept = nms(boxes, confidence, thresholds.box_nms)
    end = perf_counter()
    return Found([rles[i] for i in kept], confidence[kept].tolist(), encoded - start, end - encoded)


def grid(image: NDArray[np.uint8], side: int) -> Tensor:
    """The centres of side x side equal cells, (side², 2) float64 as (x, y) in photo pixels."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x * image.shape[1], y * image.shape[0]], -1).flatten(0, 1)


def candidates(
    sam: Sam,
    config: ModelConfig,
    size: tuple[int, ...],
    embedding: Tensor,
    points: Tensor,
    thresholds: Thresholds,
) -> tuple[list[RLE], Tensor, Tensor]:
    """What clicks (N, 2) find and no filter drops: K run lengths, predicted IoU (K,), boxes (K, 4)."""
    geometry = Geometry.of(config, *size)
    clicks = torch.from_numpy(geometry.to_model(points.numpy()))
    logits, confidence = decode_single_clicks(sam, embedding, clicks)
    multimask = list(config.click_masks)
    logits, confidence = logits[:, multimask].flatten(0, 1), confidence[:, multimask].flatten()

    # All of them, before any is dropped: at once to the model's square, without its padding, and to the photo.
    square = bilinear(logits, (sam.image_size, sam.image_size))
    full = bilinear(square[:, : geometry.resized[0], : geometry.resized[1]], size)

    confident = (confidence > thresholds.pred_iou) | (thresholds.pred_iou <= 0)  # at 0 there is no filter
    full, confidence = full[confident], confidence[confident]
    stable = stability(full, thresholds.stability_offset) >= thresholds.stability_score
    masks, confidence = full[stable] > 0, confidence[stable]
    return [encode(mask.numpy()) for mask in masks], confidence, boxes_of(masks)


def decode_single_clicks(sam: Sam, embedding: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
    """N single clicks (N, 2) in model pixels -> logits (N, 4, 4g, 4g), predicted IoU (N, 4)."""
    points = torch.stack(
        [clicks, torch.zeros_like(clicks)], 1
    )  # and the padding point that stands for "no box"
    labels = torch.tensor([FOREGROUND, PADDING]).expand(len(clicks), -1)
    return decode(sam, embedding, points, labels)


@torch.inference_mode()
def decode(sam: Sam, embedding: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """SAM's mask decoder (appendix A): prompts (N, P, 2), (N, P) on one image (1, C, g, g), of which each has a copy.

    Returns logits (N, 4, 4g, 4g) and predicted IoU (N, 4).
    """
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    side, count = embedding.shape[-1], len(points)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    prompt = torch.cat([own.expand(count, -1, -1), encoder.points(points, labels, sam.image_size)], dim=1)
    embedding, finer = embedding[:, : decoder.channels], embedding[:, decoder.channels :]
    image = embedding.repeat_interleave(count, 0) + encoder.no_mask().expand(count, -1, side, side)
    positions = encoder.dense_positions(side).repeat_interleave(count, 0)

    tokens, image = two_way(decoder.transformer, prompt, image.flatten(2).transpose(1, 2), positions)

    upscaled = upscale(decoder, image.transpose(1, 2).unflatten(2, (side, side)), finer)
    kernels = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    logits = torch.stack(kernels, 1) @ upscaled.flatten(2)
    return logits.view(count, MASK_TOKENS, 4 * side, 4 * side), decoder.iou_prediction_head(tokens[:, 0])


def upscale(decoder: MaskDecoder, image: Tensor, finer: Tensor) -> Tensor:
    """Cells (N, C, g, g) -> pixels (N, C/8, 4g, 4g); an encoder's finer maps (1, 3C, g, g), or none, are added."""
    if not finer.shape[1]:
        return decoder.output_upscaling(image)
    stride8, stride4 = finer_maps(finer, decoder.channels)
    widen, norm, act, widen_again, act_again = decoder.output_upscaling
    return act_again(widen_again(act(norm(widen(image) + stride8))) + stride4)


def two_way(
    transformer: TwoWayTransformer, prompt: Tensor, image: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Prompt tokens (N, T, C) and image cells (N, P, C) with their positions -> tokens, cells."""
    tokens = prompt
    for block in transformer.layers:
        if block.first:
            tokens = attend(block.self_attn, tokens, tokens, tokens)
        else:
            tokens = tokens + attend(block.self_attn, tokens + prompt, tokens + prompt, tokens)
        tokens = block.norm1(tokens)
        look = block.cross_attn_token_to_image
        tokens = block.norm2(tokens + attend(look, tokens + prompt, image + positions, image))
        tokens = block.norm3(tokens + block.mlp(tokens))
        look = block.cross_attn_image_to_token
        image = block.norm4(image + attend(look, image + positions, tokens + prompt, tokens))
    look = transformer.final_attn_token_to_image
    tokens = tokens + attend(look, tokens + prompt, image + positions, image)
    return transformer.norm_final_attn(tokens), image


def attend(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Multi-head attention as written on paper, (N, L, C) each."""
    q, k, v = attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values)
    q, k, v = (x.unflatten(2, (attention.heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2))


def bilinear(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, h, w) -> (N, *size)."""
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def stability(logits: Tensor, offset: float) -> Tensor:
    """The IoU of the masks cut at +offset and at -offset, (N,); 0 where both are empty."""
    smaller, larger = ((logits > cut).sum((1, 2)) for cut in (offset, -offset))
    return smaller / larger.clamp(min=1)


def boxes_of(masks: Tensor) -> Tensor:
    """(N, 4) XYXY, the outermost pixels of each mask (N, H, W); zeros for an empty one."""
    boxes = torch.zeros(len(masks), 4)
    for i, mask in enumerate(masks):
        columns, rows = mask.any(0).nonzero(), mask.any(1).nonzero()
        if len(columns):
            boxes[i] = torch.stack([columns[0], rows[0], columns[-1], rows[-1]])[:, 0]
    return boxes


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Which boxes (N, 4) stay, best first: those no better one overlaps by an IoU greater than the threshold."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    waiting, kept = scores.argsort(descending=True, stable=True), []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        low = torch.maximum(boxes[best, :2], boxes[waiting, :2])
        high = torch.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        iou = shared / (areas[best] + areas[waiting] - shared).clamp(min=1e-9)
        waiting = waiting[iou <= threshold]
    return kept
