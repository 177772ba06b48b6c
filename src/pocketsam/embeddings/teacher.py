"""Where a teacher's weights lie: storing its embeddings and training a student both need to know first."""

from pathlib import Path

from pocketsam.config import ModelConfig
from pocketsam.errors import ModelError
from pocketsam.zoo import locate

WEIGHTS = "model.safetensors"


def locate_teacher(model: str | Path) -> tuple[Path, ModelConfig | None]:
    """The weights of a teacher, given by its name, its folder or a checkpoint, and what they do not say of it.

    A student starts with its teacher's decoder, so that ONNX files, which only run, are not enough.
    Raises ModelError when there is no such model, or no weights of it.
    """
    source, config = locate(model)
    path = source / WEIGHTS if source.is_dir() else source
    if not path.exists():
        raise ModelError(
            f"{source}: holds no {WEIGHTS}, and a student needs its teacher's weights, not its ONNX files; give a"
            " folder or file that has them (pocket's: checkpoints/pocket, in the repository)"
        )
    return path, config
