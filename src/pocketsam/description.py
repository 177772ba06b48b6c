"""What a model expects of a photo, and where it comes from: all that the rest of the runtime knows of a model."""

import json
from dataclasses import asdict, dataclass, fields

from pocketsam.geometry import Resize


@dataclass(frozen=True)
class Description:
    """What a model expects of a photo, and where it comes from; stored inside the model's files as JSON.

    mean and std are per RGB channel on the scale 0 to 255. The defaults are SAM's.
    """

    name: str
    image_size: int = 1024
    resize: Resize = "pad"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    licence: str = ""
    click_masks: tuple[int, ...] = (1, 2, 3)
    """The masks that a lone click may mean: SAM's three or, where mask 0 was taught for clicks too, all four."""
    weights: str = ""
    """sha256 of the weights an ONNX pair was made of, by which its two files know each other."""

    def to_json(self) -> str:
        """The description as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The description that `to_json` wrote; fields of later versions are ignored.

        Raises ValueError when the text is no description.
        """
        values = json.loads(text)
        needed = {"name", "image_size", "resize", "mean", "std"}
        if not isinstance(values, dict) or not needed <= values.keys():
            raise ValueError(f"{', '.join(sorted(needed))} are needed")
        if values["resize"] not in ("pad", "squash"):
            raise ValueError(f"resize is {values['resize']!r}, neither 'pad' nor 'squash'")
        click_masks = tuple(values.get("click_masks", (1, 2, 3)))
        if len(click_masks) < 3 or not set(click_masks) <= {0, 1, 2, 3}:
            raise ValueError(f"click_masks are {click_masks}, not three or four of 0, 1, 2, 3")
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(
            **known
            | {
                "mean": _channels(values["mean"]),
                "std": _channels(values["std"]),
                "click_masks": click_masks,
            }
        )


def _channels(values: object) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{values!r} is not a number for each of red, green and blue")
    red, green, blue = (float(value) for value in values)
    return red, green, blue
