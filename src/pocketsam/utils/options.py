"""Settings that declare how the command line offers them: commands, the docs and records read them in one place.

They are the fields of a dataclass whose metadata is an `option`: its type and its help, with the unit.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

from pocketsam.errors import InputError


@dataclass(frozen=True)
class Option:
    """A setting as the command line offers it.

    type: of the value, as it is typed: int, float, bool, str, Path, or list[str] for an option that may be repeated.
    help: one sentence. default: as it is typed; None for none. required: whether it has to be given.
    flags: as they are typed; --NAME by default, of the setting's name. argument: whether its place says what it is,
    without a flag. metavar: what stands for the value in the help. minimum, maximum: of a number.
    variable: of the environment, which gives it where the command line does not.
    read: makes the setting of the value typed; raises InputError, without the option's name.
    names_model: whether the value is the name, folder or file of a model.
    """

    type: Any
    help: str
    default: Any = None
    required: bool = False
    flags: tuple[str, ...] = ()
    argument: bool = False
    metavar: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    variable: str | None = None
    read: Callable[[Any], Any] | None = None
    names_model: bool = False


OUTPUT = ("-o", "--output")
"""The flags of where results go."""


def option(type: Any, help: str, **more: Any) -> dict[str, Option]:
    """The metadata of a field that is an option. more: further fields of `Option`; the default is the field's own."""
    return {"option": Option(type, help, **more)}


def options_of(settings: Any) -> dict[str, Option]:
    """The options of a dataclass, by the names of its fields, with their defaults."""
    return {one.name: _with_default(one) for one in fields(settings) if "option" in one.metadata}


def _with_default(setting: "Field[Any]") -> Option:
    """A field's option with the field's default, as it would be typed."""
    found: Option = setting.metadata["option"]
    default = setting.default
    if default is MISSING:
        return replace(found, required=True)
    if found.type is str and isinstance(default, tuple):
        default = ",".join(map(str, default))
    return replace(found, default=default or None if isinstance(default, tuple) else default)


def read_options(
    command: str, options: Mapping[str, Option], given: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The settings given on the command line; those that are None, or nothing, are left to their default.

    Raises InputError for a value that makes no sense, and where an option is missing that `command` needs.
    """
    for name, one in options.items():
        value, flag = given.get(name), flag_of(name)
        if value in (None, []):
            if one.required:
                raise InputError(f"{command} needs {flag} {one.metavar or 'VALUE'}: {one.help}")
            continue
        try:
            yield name, one.read(value) if one.read else value
        except InputError as error:
            raise InputError(f"{flag} {value}: {error}") from error


def flag_of(name: str) -> str:
    """A setting's option on the command line."""
    return "--" + name.replace("_", "-")


def some_of(names: Collection[str], what: str = "") -> Callable[[str], tuple[str, ...]]:
    """Reads some of these names, with commas between them, each once. what: they are, with a space, for the error.

    What it returns raises InputError for other names.
    """

    def read(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        unknown = [name for name in given if name not in names]
        if unknown:
            raise InputError(f"there is no {what}{unknown[0]!r}; give some of {','.join(names)}")
        return given

    return read


def counts(text: str) -> tuple[int, ...]:
    """Numbers from 1 on with commas between them, sorted, each once. Raises InputError for other text."""
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1:
        raise InputError("give numbers from 1 on with commas between them, such as 1,3")
    return numbers
