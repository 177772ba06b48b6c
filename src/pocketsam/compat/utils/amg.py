"""The functions of the published everything mode, which programs use beside it: masks, boxes, crops and run lengths.

PocketSAM's own everything mode is in `automatic/`. These are for code that has loops of its own; they need PyTorch.
"""

from collections.abc import ItemsView, Iterator, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor
from torch.nn import functional as F

from pocketsam.automatic.schedule import crop_boxes, point_grid
from pocketsam.predict.regions import fill_small_holes, remove_small_islands

Values: TypeAlias = "list[Any] | NDArray[Any] | Tensor"
RLE: TypeAlias = dict[str, Any]
"""Uncompressed run lengths: "size" [H, W] and "counts", column by column, beginning with background."""


class MaskData:
    """What is known of N masks: lists, arrays and tensors by name, N values in each."""

    def __init__(self, **kwargs: Values) -> None:
        self._stats: dict[str, Any] = {}
        for name, values in kwargs.items():
            self[name] = values

    def __setitem__(self, key: str, item: Values) -> None:
        assert isinstance(item, list | np.ndarray | Tensor), (
            f"{key} is a {type(item).__name__}; give a list, an array or a tensor"
        )
        self._stats[key] = item

    def __delitem__(self, key: str) -> None:
        del self._stats[key]

    def __getitem__(self, key: str) -> Any:
        return self._stats[key]

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self._stats.items()

    def filter(self, keep: Tensor) -> None:
        """Keeps the masks for which `keep` (N,) is true, or whose numbers it holds, in that order."""
        numbers = keep.nonzero()[:, 0] if keep.dtype == torch.bool else keep
        numbers = numbers.detach().cpu()
        for name, values in self._stats.items():
            if isinstance(values, Tensor):
                self._stats[name] = values[numbers.to(values.device)]
            elif isinstance(values, np.ndarray):
                self._stats[name] = values[numbers.numpy()]
            elif isinstance(values, list):
                self._stats[name] = [values[i] for i in numbers.tolist()]

    def cat(self, new_stats: "MaskData") -> None:
        """Adds the masks of another at the end."""
        for name, values in new_stats.items():
            known = self._stats.get(name)
            if known is None:
                self._stats[name] = deepcopy(values)
            elif isinstance(values, Tensor):
                self._stats[name] = torch.cat([known, values])
            elif isinstance(values, np.ndarray):
                self._stats[name] = np.concatenate([known, values])
            else:
                self._stats[name] = known + deepcopy(values)

    def to_numpy(self) -> None:
        """Makes arrays of tensors."""
        for name, values in self._stats.items():
            if isinstance(values, Tensor):
                self._stats[name] = (
                    values.detach().float().cpu().numpy()
                    if values.dtype == torch.bfloat16
                    else (values.detach().cpu().numpy())
                )


def is_box_near_crop_edge(
    boxes: Tensor, crop_box: Sequence[int], orig_box: Sequence[int], atol: float = 20.0
) -> Tensor:
    """(N,) whether a box (N, 4) XYXY in pixels of the crop ends at an edge of the crop that is not the photo's."""
    boxes = uncrop_boxes_xyxy(boxes, crop_box).float()
    near_crop, near_photo = (
        (boxes - boxes.new_tensor([float(edge) for edge in edges])).abs() <= atol
        for edges in (crop_box, orig_box)
    )
    return (near_crop & ~near_photo).any(dim=1)


def box_xyxy_to_xywh(box_xyxy: Any) -> Any:
    """A box (4,), of any kind that can be assigned to, with width and height instead of its second corner."""
    box = deepcopy(box_xyxy)
    box[2] = box[2] - box[0]
    box[3] = box[3] - box[1]
    return box


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Parts of `batch_size` values of each of several sequences of the same length."""
    assert args, "there is nothing to iterate over"
    assert all(len(values) == len(args[0]) for values in args), "all sequences must have the same length"
    for start in range(0, len(args[0]), batch_size):
        yield [values[start : start + batch_size] for values in args]


def mask_to_rle_pytorch(tensor: Tensor) -> list[RLE]:
    """Masks (N, H, W) bool as uncompressed run lengths."""
    height, width = tensor.shape[1:]
    found = []
    for mask in tensor.bool().cpu():
        column_by_column = mask.T.flatten()
        changes = (column_by_column[1:] != column_by_column[:-1]).nonzero()[:, 0] + 1
        starts = [0, *changes.tolist(), height * width]
        counts = np.diff(starts).tolist()
        if column_by_column.numel() and column_by_column[0]:
            counts = [0, *counts]
        found.append({"size": [height, width], "counts": counts})
    return found


def rle_to_mask(rle: RLE) -> NDArray[np.bool_]:
    """Uncompressed run lengths as a mask (H, W)."""
    height, width = rle["size"]
    is_mask = np.arange(len(rle["counts"])) % 2 == 1
    return np.repeat(is_mask, rle["counts"]).reshape(width, height).T


def area_from_rle(rle: RLE) -> int:
    """The pixels of a mask, given by uncompressed run lengths."""
    return sum(rle["counts"][1::2])


def calculate_stability_score(masks: Tensor, mask_threshold: Any, threshold_offset: float) -> Tensor:
    """(…,) the IoU of masks (…, H, W), logits, cut above and below the threshold by an offset."""
    smaller, larger = (
        (masks > mask_threshold + offset).sum((-1, -2), dtype=torch.int32)
        for offset in (threshold_offset, -threshold_offset)
    )
    return torch.div(smaller, larger)


def build_point_grid(n_per_side: int) -> NDArray[np.float64]:
    """The centres of n × n equal cells, (n², 2) as (x, y) in 0 to 1, row by row."""
    return point_grid(n_per_side)


def build_all_layer_point_grids(
    n_per_side: int, n_layers: int, scale_per_layer: int
) -> list[NDArray[np.float64]]:
    """A grid for the photo and for each layer of crops, with scale_per_layer times fewer points a side each."""
    return [point_grid(int(n_per_side / scale_per_layer**layer)) for layer in range(n_layers + 1)]


def generate_crop_boxes(
    im_size: Sequence[int], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """The photo (H, W) and its crops as boxes XYXY, and the layer of each."""
    found = crop_boxes(im_size[0], im_size[1], n_layers, overlap_ratio)
    return [list(box) for _, box in found], [layer for layer, _ in found]


def uncrop_boxes_xyxy(boxes: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Boxes (…, 4) XYXY in pixels of a crop to those of the photo."""
    x0, y0 = crop_box[:2]
    return boxes + torch.tensor([x0, y0, x0, y0], device=boxes.device)


def uncrop_points(points: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Points (…, 2) in pixels of a crop to those of the photo."""
    return points + torch.tensor(list(crop_box[:2]), device=points.device)


def uncrop_masks(masks: Tensor, crop_box: Sequence[int], orig_h: int, orig_w: int) -> Tensor:
    """Masks (…, h, w) of a crop in the photo's size (…, H, W)."""
    x0, y0, x1, y1 = crop_box
    if [x0, y0, x1, y1] == [0, 0, orig_w, orig_h]:
        return masks
    return F.pad(masks, (x0, orig_w - x1, y0, orig_h - y1), value=0)


def remove_small_regions(
    mask: NDArray[np.bool_], area_thresh: float, mode: str
) -> tuple[NDArray[np.bool_], bool]:
    """A mask (H, W) without holes, or without islands, of less than `area_thresh` pixels, and whether it had any.

    mode: "holes" or "islands".
    """
    assert mode in ("holes", "islands"), f"mode is {mode!r}: give 'holes' or 'islands'"
    mask = np.asarray(mask, bool)
    if mode == "islands":
        return remove_small_islands(mask, area_thresh)
    filled, changed = fill_small_holes(mask, area_thresh)
    return (filled, True) if changed else (mask, False)


def coco_encode_rle(uncompressed_rle: RLE) -> RLE:
    """Uncompressed run lengths as COCO's, with "counts" as text."""
    height, width = uncompressed_rle["size"]
    rle: RLE = coco.frPyObjects(uncompressed_rle, height, width)
    return {**rle, "counts": rle["counts"].decode()}


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """The outermost pixels of masks (…, H, W) bool: boxes (…, 4) XYXY, zeros for an empty mask."""
    if masks.numel() == 0:
        return torch.zeros(*masks.shape[:-2], 4, device=masks.device)
    edges = []
    for axis in (-2, -1):  # columns, then rows
        occupied = masks.any(dim=axis)
        count = occupied.shape[-1]
        first = occupied.int().argmax(dim=-1)
        last = count - 1 - occupied.flip(-1).int().argmax(dim=-1)
        edges.append((first, last))
    (x0, x1), (y0, y1) = edges
    boxes = torch.stack([x0, y0, x1, y1], dim=-1)
    return boxes * masks.flatten(-2).any(dim=-1)[..., None]
