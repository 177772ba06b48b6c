"""What predictors and generators need of a model, such as a `Sam`."""

from typing import Any, Protocol

from pocketsam.engines import Engine


class OpenModel(Protocol):
    """A model that runs.

    image_format: the order of channels that it expects, "RGB" or "BGR". mask_threshold: the logit above which a pixel
    is in the mask.
    """

    image_format: str
    mask_threshold: float

    @property
    def engine(self) -> Engine:
        """What runs it."""
        ...

    @property
    def device(self) -> Any:
        """Where it runs: a torch.device or, where PyTorch is not installed, its name."""
        ...
