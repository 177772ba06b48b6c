"""Prompts as words of a command line: --point shoe=120,300 --box cap=20,40,300,280.

A word is [NAME=]X,Y or [NAME=]X0,Y0,X1,Y1, in pixels. NAME is a class, or a class and a number, as in shoe:2.
"""

from pocketsam.errors import InputError
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.predict.objects import ObjectPrompt, check_pixels


def read_words(points: list[str], negatives: list[str], boxes: list[str]) -> list[ObjectPrompt]:
    """The objects that are described: one for all points of a NAME, and one for each box without points.

    points, negatives: clicks on the objects, and beside them. Raises InputError, with the option, for other words.
    """
    given: dict[str, dict[str, list[float]]] = {}
    for option, texts, length in (("--point", points, 2), ("--negative", negatives, 2), ("--box", boxes, 4)):
        for text in texts:
            name, _, coordinates = text.rpartition("=")
            numbers = _numbers(option, text, coordinates, length)
            try:
                check_pixels(numbers)
            except InputError as error:
                raise InputError(f"{option} {error}") from error
            of_name = given.setdefault(name, {"points": [], "labels": [], "boxes": []})
            of_name["boxes" if option == "--box" else "points"] += numbers
            if option != "--box":
                of_name["labels"].append(float(option == "--point"))
    return [
        one
        for name, prompts in given.items()
        for one in ObjectPrompt.several(**prompts, name=name.partition(":")[0].strip() or DEFAULT_NAME)
    ]


def _numbers(option: str, text: str, coordinates: str, length: int) -> list[float]:
    try:
        numbers = [float(part) for part in coordinates.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != length:
        example = "120,300" if length == 2 else "20,40,300,280"
        raise InputError(
            f"{option} {text}: give {length} numbers with commas between them, such as {example}"
        )
    return numbers
