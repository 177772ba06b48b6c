"""A model as two ONNX files in the layout of segment_anything's export, which AnyLabeling and others load.

    NAME.encoder.onnx   a photo of any size (H, W, 3), RGB from 0 to 255, to its embedding; preprocessing is inside
    NAME.decoder.onnx   the embedding and one object's prompt to its mask, in the photo's size
    config.yaml         what AnyLabeling and X-AnyLabeling read

They are joined of the model's own graphs (`graphs.py`), so that any model that ONNX Runtime runs can be exported,
and nothing of it is computed in another way. What is added translates between the convention that these programs
have built in and the model's own: they scale a photo so that its longer side has 1024 pixels, give prompts in those
pixels, and masks as prompts in 256 × 256 cells, of which the photo covers the upper left part.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from onnx import GraphProto, TensorProto, compose, helper
from torch import Tensor, nn
from torch.nn import functional as F

from pocketsam.config import BOX_START, METADATA_KEY, PADDING, ModelConfig
from pocketsam.export.onnx import trace, value_info, write_model
from pocketsam.graphs import EMBEDDING_CHANNELS, GRAPHS, IMAGE_EMBEDDINGS, GraphSpec, TensorSpec, sizes
from pocketsam.utils.files import write

FRAME = 1024
"""The longer side of a photo, in the pixels that prompts are given in."""
FRAME_CELLS = FRAME // 4
"""The side of a mask that is a prompt, and of the low-resolution mask."""

_COORDINATES = TensorSpec("point_coords", (1, "points", 2))
_LABELS = TensorSpec("point_labels", (1, "points"))
_MASK = TensorSpec("mask_input", (1, 1, FRAME_CELLS, FRAME_CELLS))
_HAS_MASK = TensorSpec("has_mask_input", (1,))
_PHOTO_SIZE = TensorSpec("orig_im_size", (2,))
_ALL_MASKS = GRAPHS["decoder_masks"].outputs[0]
_ALL_IOUS = GRAPHS["decoder_predict_iou"].outputs[0]

ENCODER = GraphSpec("encoder", (TensorSpec("input_image", ("height", "width", 3)),), (IMAGE_EMBEDDINGS,))
DECODER = GraphSpec(
    "decoder",
    (IMAGE_EMBEDDINGS, _COORDINATES, _LABELS, _MASK, _HAS_MASK, _PHOTO_SIZE),
    (
        TensorSpec("masks", (1, 1, "height", "width")),
        TensorSpec("iou_predictions", (1, 1)),
        TensorSpec("low_res_masks", (1, 1, FRAME_CELLS, FRAME_CELLS)),
    ),
)
"""Names and axes of segment_anything's `SamOnnxModel` with `return_single_mask`."""

_NEW = ".new"

_PHOTO = GraphSpec("photo", ENCODER.inputs, GRAPHS["encoder"].inputs)
_PROMPTS = GraphSpec(
    "prompts",
    (_COORDINATES, _LABELS, _MASK, _PHOTO_SIZE),
    (
        TensorSpec("point_coords", (1, "tokens", 2)),
        TensorSpec("point_labels", (1, "tokens"), "int32"),
        GRAPHS["decoder_prepare"].inputs[1],
    ),
)
_MASKS = GraphSpec(
    "masks",
    (_ALL_MASKS, _ALL_IOUS, TensorSpec("point_labels", (1, "tokens"), "int32"), _HAS_MASK, _PHOTO_SIZE),
    DECODER.outputs,
)


def export_segment_anything(model: Path, folder: Path) -> tuple[Path, ...]:
    """Write the model in a folder of ONNX files as the three files, and return their paths.

    Raises OSError when a file cannot be read or written.
    """
    graphs = {name: onnx.load(model / graph.file) for name, graph in GRAPHS.items()}
    metadata = {entry.key: entry.value for entry in graphs["encoder"].metadata_props}
    config = ModelConfig.from_json(metadata[METADATA_KEY])
    encoder = [_traced(_PHOTO, _Photo(config), config), graphs["encoder"]]
    decoder = [
        _traced(_PROMPTS, _Prompts(config), config),
        graphs["decoder_prepare"],
        graphs["decoder_predict_iou"],
        graphs["decoder_masks"],
        _traced(_MASKS, _Masks(config), config),
    ]
    no_embeddings = helper.make_tensor("sparse_embeddings", TensorProto.FLOAT, (1, 0, EMBEDDING_CHANNELS), [])
    paths = [folder / f"{config.name}.{part}.onnx" for part in ("encoder", "decoder")]
    mark = f"{config.weights[:12]}-{config.numerics}"
    write_model(paths[0], _joined(ENCODER, encoder, config), mark)
    write_model(paths[1], _joined(DECODER, decoder, config, no_embeddings), mark)
    settings = folder / "config.yaml"
    write(settings, _settings(config.name, *(path.name for path in paths)).encode())
    return (*paths, settings)


def _settings(name: str, encoder: str, decoder: str) -> str:
    """AnyLabeling's config. It places a photo in a frame of at most `max_width` × `max_height` pixels."""
    values = {
        "type": "segment_anything",
        "name": name,
        "display_name": f"PocketSAM ({name})",
        "encoder_model_path": encoder,
        "decoder_model_path": decoder,
        "input_size": FRAME,
        "max_width": FRAME,
        "max_height": 682,
    }
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


class _Photo(nn.Module):
    """A photo (H, W, 3) to the model's input (1, 3, S, S): resized, normalised, padded (`predict/image.py`)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.size = config, config.image_size
        self.shrinks_from = FRAME if config.resampling == "antialiased" else math.inf
        self.register_buffer("mean", torch.tensor(config.mean))
        self.register_buffer("std", torch.tensor(config.std))

    def forward(self, photo: Tensor) -> Tensor:
        pixels = ((photo - self.mean) / self.std).permute(2, 0, 1)
        size = torch.stack([_length(photo, 0), _length(photo, 1)])
        inside = _inside(size, self.config)
        # A photo of at most 1024 pixels a side was shrunk by the program, which has averaged pixels already.
        shrinks = size.max() > self.shrinks_from
        rows = _resampling(self.size, inside[0], photo[:, 0, 0], size[0], shrinks)
        columns = _resampling(self.size, inside[1], photo[0, :, 0], size[1], shrinks)
        # Pixels outside the photo stay 0, as padding is.
        is_row, is_column = (torch.arange(self.size) < length for length in inside)
        return cast(Tensor, (rows * is_row[:, None]) @ pixels @ (columns * is_column[:, None]).T)[None]


class _Prompts(nn.Module):
    """Points, labels and a mask as these programs give them to those that the model takes (`predict/prompts.py`)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, points: Tensor, labels: Tensor, mask: Tensor, photo_size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        inside, content = _inside(photo_size, self.config), _resized(photo_size, FRAME)
        points = points * (inside / content).flip(0)
        kept = self._tokens(labels[0])
        least = max(1, self.config.pad_points_to)
        points = torch.cat([points, torch.zeros(1, least, 2)], 1).index_select(1, kept)
        labels = torch.cat([labels, torch.full((1, least), float(PADDING))], 1).index_select(1, kept)
        return points, labels.to(torch.int32), self._mask(mask, inside / 4, content / 4)

    def _tokens(self, labels: Tensor) -> Tensor:
        """Which tokens to keep, of the given ones and of padding behind them.

        Programs add a padding point to every prompt, to boxes too. SAM has one where there is no box.
        """
        real = labels != PADDING
        if self.config.pad_points_to:
            missing = self.config.pad_points_to - real.sum()
        else:
            missing = (real.any() & ~(labels == BOX_START).any()).to(torch.int64)
        added = torch.arange(max(1, self.config.pad_points_to)) < missing
        return torch.cat([real, added]).nonzero()[:, 0]

    def _mask(self, mask: Tensor, inside: Tensor, content: Tensor) -> Tensor:
        """A mask of the frame to one of the model's square."""
        if _same_frame(self.config):
            return mask
        axes = zip(inside, content, strict=True)
        rows, columns = (_resampling(self.config.mask_size, to, mask[0, 0, 0], of) for to, of in axes)
        return rows @ mask @ columns.T


class _Masks(nn.Module):
    """The four masks of a prompt to the one that it means (`predict/candidates.py`), in two sizes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, logits: Tensor, ious: Tensor, labels: Tensor, has_mask: Tensor, photo_size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ambiguous = ((labels != PADDING).sum() == 1) & (has_mask[0] == 0)
        clicks, others = (
            _most_confident(ious, masks) for masks in (self.config.click_masks, self.config.prompt_masks)
        )
        chosen = torch.where(ambiguous, clicks, others)
        logits, iou = logits.index_select(1, chosen), ious.index_select(1, chosen)
        return self._of_photo(logits, photo_size), iou, self._of_frame(logits, photo_size)

    def _of_photo(self, logits: Tensor, photo_size: Tensor) -> Tensor:
        """The mask in the photo's size, as `Geometry.logits_to_photo` has it."""
        height, width = photo_size.to(torch.int64)
        if self.config.resampling == "plain":
            return F.interpolate(logits, (height, width), mode="bicubic", align_corners=False)
        size = self.config.image_size
        square = F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
        if self.config.resize == "pad":
            rows, columns = _inside(photo_size, self.config).to(torch.int64)
            square = square[:, :, :rows, :columns]
        return F.interpolate(square, (height, width), mode="bilinear", align_corners=False)

    def _of_frame(self, logits: Tensor, photo_size: Tensor) -> Tensor:
        """The mask in the cells of the frame; beyond the photo, its border goes on."""
        if _same_frame(self.config):
            return logits
        inside, content = _inside(photo_size, self.config) / 4, _resized(photo_size, FRAME) / 4
        axes = zip(content, inside, strict=True)
        rows, columns = (_resampling(FRAME_CELLS, to, logits[0, 0, 0], of) for to, of in axes)
        return rows @ logits @ columns.T


def _same_frame(config: ModelConfig) -> bool:
    """Whether the model's square is the frame that programs use, as it is in SAM."""
    return config.resize == "pad" and config.image_size == FRAME


def _inside(photo_size: Tensor, config: ModelConfig) -> Tensor:
    """(2,) rows and columns of the photo in the model's square."""
    if config.resize == "squash":
        return torch.full((2,), float(config.image_size))
    return _resized(photo_size, config.image_size)


def _resized(photo_size: Tensor, side: int) -> Tensor:
    """(2,) rows and columns of a photo whose longer side is scaled to `side`, rounded as SAM does it."""
    return (photo_size * (side / photo_size.max()) + 0.5).floor()


def _length(x: Tensor, axis: int) -> Tensor:
    """The size of an axis as a number that stays variable in the graph."""
    return torch._shape_as_tensor(x)[axis].to(torch.float32)


def _most_confident(ious: Tensor, masks: tuple[int, ...]) -> Tensor:
    """The number (1,) of the mask with the highest predicted IoU among some, ious (1, 4)."""
    allowed = torch.tensor(masks)
    return allowed[ious[0, allowed].argmax(0, keepdim=True)]


def _resampling(
    count: int,
    inside: Tensor | float,
    line: Tensor,
    covered: Tensor | float,
    antialias: Tensor | bool = False,
) -> Tensor:
    """Bilinear weights (count, len(line)), which resize the first `covered` values of a line to `inside` values.

    antialias: average over all values that shrink into one, as Pillow does. Beyond `inside`, the last value goes on.
    """
    scale = covered / inside
    width = torch.where(torch.as_tensor(antialias), torch.as_tensor(scale).clamp(min=1.0), torch.ones(()))
    centres = ((torch.arange(count) + 0.5) * scale).minimum(torch.as_tensor(covered - scale / 2))
    places = torch.ones_like(line).cumsum(0) - 0.5
    weights = (1 - (centres[:, None] - places).abs() / width).clamp(min=0.0) * (places < covered)
    return weights / weights.sum(1, keepdim=True)


def _traced(spec: GraphSpec, module: nn.Module, config: ModelConfig) -> onnx.ModelProto:
    # Dynamic axes have examples of different sizes.
    lengths = {**sizes(config), "objects": 1, "points": 3, "tokens": 2, "height": 37, "width": 53}
    examples = [torch.from_numpy(np.ones(tensor.shape(lengths), tensor.dtype)) for tensor in spec.inputs]
    # No value can go in and come out under one name.
    outputs = tuple(replace(tensor, name=f"{tensor.name}{_NEW}") for tensor in spec.outputs)
    return trace(module, tuple(examples), replace(spec, outputs=outputs), sizes(config))


def _joined(
    spec: GraphSpec, parts: list[onnx.ModelProto], config: ModelConfig, *constants: TensorProto
) -> onnx.ModelProto:
    """One graph of several that run one after the other: each reads its inputs by their names, the latest first."""
    nodes, tensors = [], list(constants)
    latest = {name: name for name in (*spec.input_names, *(tensor.name for tensor in constants))}
    for number, part in enumerate(parts):
        graph: GraphProto = compose.add_prefix_graph(part.graph, f"{number}/")
        given = [value.name for value in part.graph.input]
        nodes += [helper.make_node("Identity", [latest[name]], [f"{number}/{name}"]) for name in given]
        nodes += graph.node
        tensors += graph.initializer
        latest |= {value.name.removesuffix(_NEW): f"{number}/{value.name}" for value in part.graph.output}
    nodes += [helper.make_node("Identity", [latest[name]], [name]) for name in spec.output_names]
    inputs, outputs = (
        [value_info(tensor, sizes(config)) for tensor in side] for side in (spec.inputs, spec.outputs)
    )
    opsets = {opset.domain: opset for part in parts for opset in part.opset_import}
    model = helper.make_model(
        helper.make_graph(nodes, spec.name, inputs, outputs, tensors),
        opset_imports=list(opsets.values()),
        ir_version=max(part.ir_version for part in parts),
    )
    helper.set_model_props(model, {METADATA_KEY: config.to_json()})
    return model
