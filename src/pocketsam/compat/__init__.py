"""The API of segment_anything: a script written for it runs with its import changed to this one.

    from pocketsam.compat import SamPredictor, SamAutomaticMaskGenerator, sam_model_registry

Names, argument order, defaults, output keys and types are the published ones, on any model and engine of PocketSAM.
PyTorch is imported only where a tensor is returned or given. What differs, and why, is in
docs/how-to/move-from-segment-anything.md.
"""

from pocketsam.compat.generator import SamAutomaticMaskGenerator
from pocketsam.compat.model import (
    Sam,
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from pocketsam.compat.predictor import SamPredictor
from pocketsam.compat.transforms import ResizeLongestSide

__all__ = [
    "ResizeLongestSide",
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]
