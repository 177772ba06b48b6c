"""Prompts of many photos in one file: CSV with a header, or JSON.

    photo,points,labels,boxes,name
    a.jpg,"120,300 150,310","1 0",,shoe
    a.jpg,,,"20,130,342,371",cap
    b.jpg,"88,40",,,shoe

A row is an object, clicked on, in a box, or both; a row with several boxes and no points is as many objects of one
class. JSON is a list of objects with the same keys: {"photo": "a.jpg", "points": [[120, 300]], "name": "shoe"}.
"""

import csv
import json
import math
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from pocketsam.errors import InputError
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.predict.objects import ObjectPrompt

COLUMNS = ("photo", "points", "labels", "boxes", "name")


def read_prompts(path: Path) -> dict[str, list[ObjectPrompt]]:
    """The objects in each photo, by the photo's name as the file has it, in the file's order.

    Raises InputError, which names the file and the row, for a file that cannot be read or a row that makes no sense.
    """
    found: dict[str, list[ObjectPrompt]] = {}
    for place, row in _rows(path):
        try:
            found.setdefault(_photo(row), []).extend(_objects(row))
        except InputError as error:
            raise InputError(f"{path}, {place}: {error}") from error
    if not found:
        raise InputError(f"{path}: holds no prompts; give a row for each object")
    return found


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row by the names of its columns, and its place in the file, for messages."""
    try:
        content = path.read_text(encoding="utf-8-sig")  # spreadsheets write a mark in front
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json_rows(path, content)
    if suffix == ".csv":
        return _csv_rows(path, content)
    raise InputError(f"{path}: prompts are read from .csv and .json")


def _csv_rows(path: Path, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(StringIO(content), restkey="", restval="")
    _check_columns(f"{path}, line 1", reader.fieldnames or ())
    for row in reader:
        if row.pop("", None):
            raise InputError(
                f"{path}, line {reader.line_num}: has more cells than columns; put quotes around 1,2"
            )
        yield f"line {reader.line_num}", row


def _json_rows(path: Path, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f'{path}: must be a list such as [{{"photo": "a.jpg", "points": [[120, 300]]}}]')
    for i, row in enumerate(rows, 1):
        _check_columns(f"{path}, entry {i}", row)
        yield f"entry {i}", row


def _check_columns(place: str, names: Any) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise InputError(f"{place}: there is no column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")


def _photo(row: dict[str, Any]) -> str:
    photo = row.get("photo")
    if not isinstance(photo, str) or not photo.strip():
        raise InputError("there is no photo; give its name")
    return photo.strip()


def _objects(row: dict[str, Any]) -> list[ObjectPrompt]:
    points, labels, boxes = (_numbers(row.get(name), name) for name in ("points", "labels", "boxes"))
    if not points and not boxes:
        raise InputError("there is no prompt; give points or boxes")
    return ObjectPrompt.several(points, labels, boxes, str(row.get("name") or DEFAULT_NAME).strip())


def _numbers(value: Any, column: str) -> list[float]:
    """All numbers in a cell of text, or in nested lists, in order."""
    if value is None:
        return []
    if isinstance(value, list):
        return [number for one in value for number in _numbers(one, column)]
    words = [word for word in re.split(r"[\s,;]+", value) if word] if isinstance(value, str) else [value]
    try:
        numbers = [float(word) for word in words]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{column} must be finite numbers, not {value}")
    return numbers
