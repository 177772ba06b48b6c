"""What the checks of clients share: weights that anyone can make, and a photo."""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision_cpu
from PIL import Image

torchvision_cpu.declare()
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
sys.path.append(str(ROOT / "tests"))

from parity import synthetic_weights  # noqa: E402
from pocketsam.models.encoders.sam_vit import SamViT  # noqa: E402
from pocketsam.models.sam import Sam  # noqa: E402


def photo(name: str = "sneakers") -> np.ndarray:
    """A sample photo, uint8 (H, W, 3) RGB."""
    return np.array(Image.open(SAMPLES / f"{name}.jpg").convert("RGB"))


def small_checkpoint(folder: Path) -> Path:
    """SAM's network with two blocks of 64 channels instead of twelve of 768, on 1024 × 1024 pixels."""
    network = Sam(SamViT(64, 2, 4, 256, (1,), 14, 1024), 1024)
    weights = {
        name: torch.from_numpy(np.asarray(synthetic_weights.tensor(name, tuple(tensor.shape))))
        for name, tensor in network.state_dict().items()
    }
    path = folder / "small.pth"
    torch.save(weights, path)
    return path


def vit_b_checkpoint(folder: Path) -> Path:
    """SAM's ViT-B, with synthetic weights."""
    drawn = synthetic_weights.state_dict(str(synthetic_weights.FOLDER / "sam_vit_b.json"))
    path = folder / "vit_b.pth"
    torch.save({name: torch.from_numpy(np.asarray(tensor)) for name, tensor in drawn.items()}, path)
    return path


def small_under_every_name() -> None:
    """Programs that ask for a ViT-B get whatever their file holds, as by "default"."""
    from pocketsam.compat import build_sam, sam_model_registry

    sam_model_registry.update(dict.fromkeys(sam_model_registry, build_sam))
