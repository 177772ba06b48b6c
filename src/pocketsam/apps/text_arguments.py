"""Text prompts as arguments of a command line: --text "red car" --detector DETECTOR."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pocketsam.errors import InputError
from pocketsam.utils.options import option

DEFAULT = "IDEA-Research/grounding-dino-tiny"


@dataclass(frozen=True)
class TextArguments:
    """The text prompts of a command line.

    text: names of objects. detector: a name, a folder, a .onnx or a .json file, see `detectors`.
    min_score: the least score of a box, from 0 to 1.
    """

    text: Sequence[str] | None = field(
        default=None,
        metadata=option(list[str], 'What to segment, such as "red car"; may be repeated.', metavar="NAME"),
    )
    detector: str = field(
        default=DEFAULT,
        metadata=option(
            str,
            "What finds the text: a zero-shot detector of transformers, by name or folder; a YOLO-World .onnx; or a"
            " .json with boxes.",
            metavar="DETECTOR",
        ),
    )
    min_score: float = field(
        default=0.3, metadata=option(float, "The least score of a box, from 0 to 1.", metavar="X")
    )

    def names(self) -> list[str]:
        """The names, each once. Raises InputError for one without letters, and for a score that is none."""
        names = list(dict.fromkeys(one.strip() for one in self.text or ()))
        if "" in names:
            raise InputError('--text "": names nothing; give what to segment, such as --text "red car"')
        if not 0 <= self.min_score <= 1:
            raise InputError(f"--min-score {self.min_score:g}: is no score; give a number from 0 to 1")
        return names
