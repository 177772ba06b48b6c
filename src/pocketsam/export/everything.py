"""Everything mode as one ONNX file: a photo to its masks, for programs that are to make one call.

    photo → grid of points → predicted IoU → masks that may pass → stability, boxes → NMS → masks

It is joined of the model's own graphs (`graphs.py`). As in the published SAM, all points of one grid are prompted at
once, and the filters are those of arXiv 2304.02643, appendix B, with the thresholds of the model, which may also be
given as inputs. Unlike `automatic/`, stability and boxes are measured in the cells of the masks, not in the photo's
pixels, and neither the hierarchy nor crops nor the removal of small regions are part of it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pocketsam.config import FOREGROUND, PADDING, ModelConfig
from pocketsam.export.frames import PhotoInput, inside_square, photo_size
from pocketsam.export.joining import joined, no_embeddings, part, read_graphs
from pocketsam.export.onnx import OPSET, write_model
from pocketsam.graphs import GRAPHS, MASK_INPUTS, PROMPTS, GraphSpec, TensorSpec

FILE = "everything.onnx"
STABILITY_OFFSET = 1.0
"""How far from 0, in logits, a mask is cut to measure its stability; as in `automatic.options`."""
BOX_NMS_THRESH = 0.7
"""As in `automatic.options`."""

PHOTO = TensorSpec("photo", ("height", "width", 3))
THRESHOLDS = tuple(
    TensorSpec(name, (1,)) for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh")
)
MASKS = TensorSpec("low_res_masks", ("masks", "mask_size", "mask_size"))
BOXES = TensorSpec("boxes", ("masks", 4))
IOUS, STABILITY = TensorSpec("iou_predictions", ("masks",)), TensorSpec("stability_scores", ("masks",))
COVERED = TensorSpec("covered", (2,))
EVERYTHING = GraphSpec("everything", (PHOTO, *THRESHOLDS), (MASKS, BOXES, IOUS, STABILITY, COVERED))
"""photo: RGB from 0 to 255. boxes: x0, y0, x1, y1 in pixels of the photo. covered: the rows and columns of the masks
that show the photo, from the upper left; the rest is padding."""

_POINTS = TensorSpec("point_coords", ("objects", "tokens", 2))
_ALL_IOUS, _ALL_MASKS = GRAPHS["decoder_predict_iou"].outputs[0], GRAPHS["decoder_masks"].outputs[0]
_START = GraphSpec("start", (PHOTO,), (*GRAPHS["encoder"].inputs, _POINTS, COVERED))
_SELECT = GraphSpec("select", (_ALL_IOUS, *MASK_INPUTS, THRESHOLDS[0]), (_ALL_IOUS, *MASK_INPUTS))
_RATE = GraphSpec(
    "rate", (PHOTO, _ALL_MASKS, _ALL_IOUS, *THRESHOLDS[:2], COVERED), (MASKS, BOXES, IOUS, STABILITY)
)


def export_everything(model: Path, folder: Path, points_per_side: int) -> Path:
    """Write the model in a folder of ONNX files as one file, and return its path.

    Raises OSError when a file cannot be read or written.
    """
    graphs, config = read_graphs(model)
    parts = [
        part(_START, _Start(config, points_per_side), config),
        graphs["encoder"],
        graphs["decoder_prepare"],
        graphs["decoder_predict_iou"],
        part(_SELECT, _Select(config), config),
        graphs["decoder_masks"],
        part(_RATE, _Rate(config), config),
        _without_duplicates(),
    ]
    file = folder / FILE
    constants = [*_clicks(config, points_per_side**2), *_defaults(config)]
    write_model(file, joined(EVERYTHING, parts, config, constants), config)
    return file


def _clicks(config: ModelConfig, count: int) -> Iterator[TensorProto]:
    """What the decoder takes beside the points' coordinates: each is a single click, without a former mask."""
    added = _padding(config)
    labels = np.tile(np.array([FOREGROUND] + added * [PADDING], np.int32), (count, 1))
    yield numpy_helper.from_array(labels, PROMPTS[1].name)
    no_mask = np.zeros((1, 1, config.mask_size, config.mask_size), np.float32)
    yield numpy_helper.from_array(no_mask, "mask_input")
    yield numpy_helper.from_array(np.zeros(1, np.float32), "has_mask_input")
    yield no_embeddings(count)


def _padding(config: ModelConfig) -> int:
    """How many points of padding follow a single click; see `Prompts.tokens`."""
    return max(1, config.pad_points_to - 1)


def _defaults(config: ModelConfig) -> Iterator[TensorProto]:
    values = config.pred_iou_thresh, config.stability_score_thresh, BOX_NMS_THRESH
    for tensor, value in zip(THRESHOLDS, values, strict=True):
        yield numpy_helper.from_array(np.array([value], np.float32), tensor.name)


class _Start(nn.Module):
    """A photo to the model's input, to the points of the grid with their padding, and to `covered`."""

    grid: Tensor

    def __init__(self, config: ModelConfig, points_per_side: int) -> None:
        super().__init__()
        self.config, self.photo_input = config, PhotoInput(config, framed=False)
        centres = (torch.arange(points_per_side) + 0.5) / points_per_side
        self.register_buffer("grid", torch.cartesian_prod(centres, centres).flip(1))

    def forward(self, photo: Tensor) -> tuple[Tensor, ...]:
        image, _ = self.photo_input(photo)
        size = photo_size(photo)
        inside = inside_square(size, self.config) + 0 * size  # so that it stays variable in the graph
        points = (self.grid * inside.flip(0))[:, None]
        padding = torch.zeros(len(self.grid), _padding(self.config), 2)
        return image, torch.cat([points, padding], 1), (inside / 4).ceil()


class _Select(nn.Module):
    """The prompts of which some mask has a greater predicted IoU than the threshold; and the first, for the decoder
    takes no fewer than one.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.masks = list(config.click_masks)

    def forward(self, ious: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *mask_inputs, threshold = rest
        confident = _confident(ious[:, self.masks], threshold).any(1)
        chosen = (confident | (torch.ones_like(ious[:, 0]).cumsum(0) == 1)).nonzero()[:, 0]
        return tuple(one.index_select(0, chosen) for one in (ious, *mask_inputs))


class _Rate(nn.Module):
    """The masks of single clicks that are confident, stable and not empty, and the boxes around them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.masks = config, list(config.click_masks)

    def forward(
        self,
        photo: Tensor,
        masks: Tensor,
        ious: Tensor,
        iou_threshold: Tensor,
        stability_threshold: Tensor,
        covered: Tensor,
    ) -> tuple[Tensor, ...]:
        size, cells = photo_size(photo), torch.arange(self.config.mask_size)
        masks, ious = masks[:, self.masks].flatten(0, 1), ious[:, self.masks].flatten()
        rows, columns = (cells < length for length in covered)
        on_photo = rows[:, None] & columns
        shown = masks * on_photo - 1e4 * ~on_photo
        smaller, larger = ((shown > cut).sum((1, 2)) for cut in (STABILITY_OFFSET, -STABILITY_OFFSET))
        stability = smaller / larger.clamp(min=1)
        inside = shown > 0
        passes = _confident(ious, iou_threshold) & (stability >= stability_threshold) & inside.any(2).any(1)
        kept = passes.nonzero()[:, 0]
        masks, inside = masks.index_select(0, kept), inside.index_select(0, kept)
        pixels = size / (inside_square(size, self.config) / 4)  # of the photo, to a cell
        boxes = _boxes(inside) * pixels.flip(0).repeat(2)
        return masks, boxes, ious.index_select(0, kept), stability.index_select(0, kept)


def _confident(ious: Tensor, threshold: Tensor) -> Tensor:
    """At a threshold of 0, all pass: predicted IoU may be negative."""
    return (ious > threshold) | (threshold <= 0)


def _boxes(masks: Tensor) -> Tensor:
    """The boxes (M, 4) around masks (M, h, w) bool, none of which is empty, as x0, y0, x1, y1 in cells."""
    ends = []
    for axis in (1, 2):  # of x and of y
        line = masks.any(axis).float()
        cells = torch.arange(line.shape[1])
        ends.append(((1 - line) * 1e4 + cells).amin(1))
        ends.append((line * (cells + 1)).amax(1))
    x0, x1, y0, y1 = ends
    return torch.stack([x0, y0, x1, y1], 1)


def _without_duplicates() -> onnx.ModelProto:
    """NMS: of masks whose boxes overlap more than the threshold, the one with the highest predicted IoU."""
    tensors = (MASKS, BOXES, IOUS, STABILITY)
    nodes = [
        helper.make_node("Constant", [], ["zero"], value_ints=[0]),
        helper.make_node("Constant", [], ["two"], value_ints=[0, 1]),
        helper.make_node("Constant", [], ["all"], value_ints=[2**31]),
        helper.make_node("Unsqueeze", [BOXES.name, "zero"], ["batch"]),
        helper.make_node("Unsqueeze", [IOUS.name, "two"], ["scores"]),
        helper.make_node(
            "NonMaxSuppression", ["batch", "scores", "all", THRESHOLDS[2].name], ["numbers"]
        ),  # (K, 3): image, class, box
        helper.make_node("Constant", [], ["last"], value_int=2),
        helper.make_node("Gather", ["numbers", "last"], ["kept"], axis=1),
        *(helper.make_node("Gather", [one.name, "kept"], [f"{one.name}.new"], axis=0) for one in tensors),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "nms",
            [helper.make_empty_tensor_value_info(one.name) for one in (*tensors, THRESHOLDS[2])],
            [helper.make_empty_tensor_value_info(f"{one.name}.new") for one in tensors],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
