"""The API of segment_anything: a script written for it runs with its import changed to this one.

    from pocketsam.compat import SamPredictor, SamAutomaticMaskGenerator, sam_model_registry

Modules, names, argument order, defaults, attributes, output keys and types are the published ones. For code that
cannot be edited, `install()` puts this package under the name segment_anything, and

    python -m pocketsam.compat script.py

runs a script so. PyTorch is imported only for modules and where a tensor is returned or given. What differs, and why,
is in docs/how-to/move-from-segment-anything.md.
"""

from pocketsam.compat.aliases import install
from pocketsam.compat.automatic_mask_generator import SamAutomaticMaskGenerator
from pocketsam.compat.build_sam import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from pocketsam.compat.predictor import SamPredictor

__all__ = [
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "install",
    "sam_model_registry",
]
