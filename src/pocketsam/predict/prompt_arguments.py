"""Prompts as arguments of a command line: --point shoe=120,300 --box cap=20,40,300,280.

A word is [NAME=]X,Y or [NAME=]X0,Y0,X1,Y1, in pixels. NAME is a class, or a class and a number, as in shoe:2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.errors import InputError
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.predict.objects import ObjectPrompt, check_pixels
from pocketsam.utils.options import option


@dataclass(frozen=True)
class ObjectArguments:
    """The objects that a command line describes, in one photo.

    point, negative: clicks on the objects, and beside them. box: boxes around objects.
    """

    point: Sequence[str] | None = field(
        default=None, metadata=option(list[str], "A pixel on the object.", metavar="[NAME=]X,Y")
    )
    negative: Sequence[str] | None = field(
        default=None, metadata=option(list[str], "A pixel that is not on the object.", metavar="[NAME=]X,Y")
    )
    box: Sequence[str] | None = field(
        default=None,
        metadata=option(list[str], "A box around an object, in pixels.", metavar="[NAME=]X0,Y0,X1,Y1"),
    )

    def objects(self) -> list[ObjectPrompt]:
        """The objects that are described: one for all points of a NAME, and one for each box without points.

        Raises InputError, with the option, for words that are no prompt.
        """
        return _read_words(self.point or (), self.negative or (), self.box or ())


@dataclass(frozen=True)
class PromptArguments(ObjectArguments):
    """The prompts of a command line, for one photo or, by a file, for many.

    mask: a file with the mask of the only object. prompts: a file with the prompts of many photos. same_prompts:
    whether the others are of each photo.
    """

    mask: Path | None = field(
        default=None,
        metadata=option(
            Path,
            "A mask to start from: logits (.npy), or an image that is not 0 inside the mask.",
            metavar="FILE",
        ),
    )
    prompts: Path | None = field(
        default=None,
        metadata=option(
            Path,
            "The prompts of many photos: .csv with the columns photo, points, labels, boxes, name, or .json.",
            metavar="FILE",
        ),
    )
    same_prompts: bool = field(
        default=False, metadata=option(bool, "Use the same pixels on each of several photos.")
    )


def _read_words(points: Sequence[str], negatives: Sequence[str], boxes: Sequence[str]) -> list[ObjectPrompt]:
    given: dict[str, dict[str, list[float]]] = {}
    for flag, texts, length in (("--point", points, 2), ("--negative", negatives, 2), ("--box", boxes, 4)):
        for text in texts:
            name, _, coordinates = text.rpartition("=")
            numbers = _numbers(flag, text, coordinates, length)
            try:
                check_pixels(numbers)
            except InputError as error:
                raise InputError(f"{flag} {error}") from error
            of_name = given.setdefault(name, {"points": [], "labels": [], "boxes": []})
            of_name["boxes" if flag == "--box" else "points"] += numbers
            if flag != "--box":
                of_name["labels"].append(float(flag == "--point"))
    return [
        one
        for name, prompts in given.items()
        for one in ObjectPrompt.several(**prompts, name=name.partition(":")[0].strip() or DEFAULT_NAME)
    ]


def _numbers(flag: str, text: str, coordinates: str, length: int) -> list[float]:
    try:
        numbers = [float(part) for part in coordinates.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != length:
        example = "120,300" if length == 2 else "20,40,300,280"
        raise InputError(f"{flag} {text}: give {length} numbers with commas between them, such as {example}")
    return numbers
