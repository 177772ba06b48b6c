"""Everything mode as one ONNX file: a photo to its masks, for programs that are to make one call.

    photo → grid of points → predicted IoU → masks that may pass → stability, boxes → NMS → masks

It is joined of the model's own graphs (`graphs.py`). As in the published SAM, all points of one grid are prompted at
once, and the filters are those of arXiv 2304.02643, appendix B, with the thresholds of the model, which may also be
given as inputs. Unlike `automatic/`, stability and boxes are measured in the cells of the masks, not in the photo's
pixels, and neither the hierarchy nor crops nor the removal of small regions are part of it.
"""

from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from pocketsam.automatic.schedule import point_grid
from pocketsam.config import FOREGROUND, METADATA_KEY, PADDING, ModelConfig
from pocketsam.export.frames import PhotoInput, inside_square
from pocketsam.export.joining import NO_EMBEDDINGS, joined, part
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

_POINTS = TensorSpec("point_coords", ("objects", "tokens", 2)), TensorSpec(
    "point_labels", ("objects", "tokens"), "int32"
)
_NO_MASK = GRAPHS["decoder_prepare"].inputs[1:]
_ALL_IOUS, _ALL_MASKS = GRAPHS["decoder_predict_iou"].outputs[0], GRAPHS["decoder_masks"].outputs[0]
_START = GraphSpec("start", (PHOTO,), (*GRAPHS["encoder"].inputs, *PROMPTS[:2], *_NO_MASK, COVERED))
_SELECT = GraphSpec("select", (_ALL_IOUS, *MASK_INPUTS, THRESHOLDS[0]), (_ALL_IOUS, *MASK_INPUTS))
_RATE = GraphSpec(
    "rate", (PHOTO, _ALL_MASKS, _ALL_IOUS, *THRESHOLDS[:2], COVERED), (MASKS, BOXES, IOUS, STABILITY)
)


def export_everything(model: Path, folder: Path, points_per_side: int) -> Path:
    """Write the model in a folder of ONNX files as one file, and return its path.

    Raises OSError when a file cannot be read or written.
    """
    graphs = {name: onnx.load(model / graph.file) for name, graph in GRAPHS.items()}
    metadata = {entry.key: entry.value for entry in graphs["encoder"].metadata_props}
    config = ModelConfig.from_json(metadata[METADATA_KEY])
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
    values = config.pred_iou_thresh, config.stability_score_thresh, BOX_NMS_THRESH
    defaults = [
        helper.make_tensor(tensor.name, TensorProto.FLOAT, (1,), [value])
        for tensor, value in zip(THRESHOLDS, values, strict=True)
    ]
    file = folder / FILE
    write_model(
        file,
        joined(EVERYTHING, parts, config, [NO_EMBEDDINGS, *defaults]),
        f"{config.weights[:12]}-{config.numerics}",
    )
    return file


class _Start(nn.Module):
    """A photo to the model's input, to a lone click at each point of the grid, and to `covered`."""

    grid: Tensor

    def __init__(self, config: ModelConfig, points_per_side: int) -> None:
        super().__init__()
        self.config, self.photo_input = config, PhotoInput(config, framed=False)
        self.register_buffer("grid", torch.from_numpy(point_grid(points_per_side)).float())

    def forward(self, photo: Tensor) -> tuple[Tensor, ...]:
        image, _ = self.photo_input(photo)
        inside = inside_square(_size(photo), self.config)
        points = (self.grid * inside.flip(0))[:, None]
        added = max(1, self.config.pad_points_to - 1)  # see `Prompts.tokens`
        labels = torch.tensor([[FOREGROUND] + [PADDING] * added], dtype=torch.int32)
        side = self.config.mask_size
        return (
            image,
            torch.cat([points, torch.zeros(len(self.grid), added, 2)], 1),
            labels.expand(len(self.grid), -1),
            torch.zeros(1, 1, side, side) * photo[0, 0, 0],
            torch.zeros(1) * photo[0, 0, 0],
            (inside / 4).ceil(),
        )


class _Select(nn.Module):
    """The prompts of which some mask has a greater predicted IoU than the threshold."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.masks = list(config.click_masks)

    def forward(self, ious: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *mask_inputs, threshold = rest
        chosen = (ious[:, self.masks] > threshold).any(1).nonzero()[:, 0]
        return tuple(one.index_select(0, chosen) for one in (ious, *mask_inputs))


class _Rate(nn.Module):
    """The masks of lone clicks that are confident, stable and not empty, and the boxes around them."""

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
        side = self.config.mask_size
        masks, ious = masks[:, self.masks].flatten(0, 1), ious[:, self.masks].flatten()
        rows, columns = (torch.arange(side) < length for length in covered)
        shown = masks * (rows[:, None] & columns) - 1e4 * ~(rows[:, None] & columns)
        smaller, larger = ((shown > cut).sum((1, 2)) for cut in (STABILITY_OFFSET, -STABILITY_OFFSET))
        stability = smaller / larger.clamp(min=1)
        inside = shown > 0
        passes = (ious > iou_threshold) & (stability >= stability_threshold) & inside.any(2).any(1)
        kept = passes.nonzero()[:, 0]
        masks, inside = masks.index_select(0, kept), inside.index_select(0, kept)
        cells = inside_square(_size(photo), self.config) / 4
        boxes = _boxes(inside) * (_size(photo) / cells).flip(0).repeat(2)
        return masks, boxes, ious.index_select(0, kept), stability.index_select(0, kept)


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


def _size(photo: Tensor) -> Tensor:
    """(2,) rows and columns, as numbers that stay variable in the graph."""
    return torch.stack([torch.ones_like(photo[:, 0, 0]).sum(), torch.ones_like(photo[0, :, 0]).sum()])


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
    )
