"""Models by name: where the weights of each lie."""

from difflib import get_close_matches
from pathlib import Path

from pocketsam.errors import ModelError

MODELS = {"pocket": Path(__file__).parent / "weights" / "pocket"}


def locate(model: str | Path) -> Path:
    """The folder of a model, given by its name or as a folder. Raises ModelError when there is neither."""
    if str(model) in MODELS:
        return MODELS[str(model)]
    if Path(model).is_dir():
        return Path(model)
    close = get_close_matches(str(model).lower(), MODELS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"give a model folder, or one of: {', '.join(MODELS)}"
    raise ModelError(f"there is no model {str(model)!r}; {hint}")
