"""A recipe's YAML file, read and checked before anything starts."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from pocketsam.errors import InputError
from pocketsam.training.config import Recipe
from pocketsam.training.tasks import TASKS


def read_recipe(path: Path, changes: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, with `key=value` changes on top. Raises InputError naming the field at fault."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or no day of the calendar
        raise InputError(f"{path}: cannot be read as a recipe ({_first_line(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: is no recipe; see recipes/ for examples")
    values |= dict(_change(change) for change in changes or [])
    try:
        return parse_recipe(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_complaint(error, values)}") from error


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """The recipe of the method that `method` names; supervised training, if it is not given.

    Raises ValidationError naming the fields at fault.
    """
    union: Any = reduce(or_, dict.fromkeys(task.config for task in TASKS.values()))
    adapter: TypeAdapter[Recipe] = TypeAdapter(Annotated[union, Field(discriminator="method")])
    return adapter.validate_python({"method": "supervised", **values})


def _complaint(error: ValidationError, values: Mapping[str, Any]) -> str:
    """What is wrong with the first field at fault."""
    first = error.errors()[0]
    if first["type"] == "union_tag_invalid":
        return f"method: {values['method']!r} is none; choose one of {', '.join(TASKS)}"
    method, *fields = map(str, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = f"{method} training needs it"
    if first["type"] == "extra_forbidden":
        message = f"{method} training has no {fields[-1]}{_hint(fields, method)}"
    return "".join(f"{field}: " for field in fields) + message


def _hint(fields: list[str], method: str) -> str:
    """What to do about a field that the method does not have."""
    if len(fields) > 1:  # of a part, such as augmentation
        return "; leave it out"
    having = [name for name, task in TASKS.items() if fields[0] in task.config.model_fields]
    if having:
        return f" ({' and '.join(having)} training has); leave it out"
    close = get_close_matches(fields[0], TASKS[method].config.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else "; leave it out"


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"--set {text}: {value} is no YAML ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
