"""torchvision beside a PyTorch for CPUs only: its operators are compiled for CUDA, and do not load.

`declare()` declares those that torchvision's import asks for, and computes the one that these clients call, NMS.
Where torchvision loads, nothing is done.
"""

import sys

import torch

_BOXES = "Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": f"({_BOXES}, int sampling_ratio, bool aligned) -> Tensor",
    "qroi_align": f"({_BOXES}, int sampling_ratio, bool aligned) -> Tensor",
    "ps_roi_align": f"({_BOXES}, int sampling_ratio) -> (Tensor, Tensor)",
    "roi_pool": f"({_BOXES}) -> (Tensor, Tensor)",
    "ps_roi_pool": f"({_BOXES}) -> (Tensor, Tensor)",
    "deform_conv2d": "(Tensor input) -> Tensor",
    "_roi_align_backward": "(Tensor grad) -> Tensor",
    "_ps_roi_align_backward": "(Tensor grad) -> Tensor",
    "_roi_pool_backward": "(Tensor grad) -> Tensor",
    "_ps_roi_pool_backward": "(Tensor grad) -> Tensor",
    "_deform_conv2d_backward": "(Tensor grad) -> Tensor",
}
_kept: list[torch.library.Library] = []


def declare() -> None:
    """Make `import torchvision` work."""
    try:
        import torchvision
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name, schema in _SCHEMAS.items():
            library.define(f"{name}{schema}")
        library.impl("nms", _nms, "CPU")
        import torchvision

        torchvision.extension._has_ops = lambda: True
        _kept.append(library)  # PyTorch forgets the operators of a library that nobody keeps


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    order = scores.sort(stable=True, descending=True).indices
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        corner, opposite = boxes[rest, :2].maximum(boxes[best, :2]), boxes[rest, 2:].minimum(boxes[best, 2:])
        shared = (opposite - corner).clamp(min=0).prod(1)
        order = rest[~(shared / (areas[best] + areas[rest] - shared) > threshold)]
    return torch.stack(kept) if kept else order
