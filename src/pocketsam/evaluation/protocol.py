"""What a protocol is, and how it declares its settings: the command line, the docs and the record read them here.

A protocol is a frozen dataclass whose fields are its settings. A field whose metadata is an `option` is offered on
the command line; it carries its type and its help, which gives the unit where there is one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from pocketsam.errors import InputError
from pocketsam.evaluation.results import PhotoResult, Report

if TYPE_CHECKING:
    from pocketsam.data.sample import Dataset, Sample
    from pocketsam.segmenter import Segmenter

OpenSegmenter: TypeAlias = "Callable[[], Segmenter]"
"""Opens the model that is measured; every worker process opens its own."""


@dataclass(frozen=True)
class Option:
    """A setting of a protocol as the command line offers it.

    type: of the value, as it is typed: int, float, bool, str, Path, or list[str] for an option that may be repeated.
    help: one sentence. default: as it is typed; None for none. required: whether it has to be given.
    metavar: what stands for the value in the help. minimum: the least number allowed.
    read: makes the setting of the value typed; raises InputError, without the option's name.
    names_model: whether the value is the name, folder or file of a model.
    """

    type: Any
    help: str
    default: Any = None
    required: bool = False
    metavar: str | None = None
    minimum: int | None = None
    read: Callable[[Any], Any] | None = None
    names_model: bool = False


def option(type: Any, help: str, **more: Any) -> dict[str, Option]:
    """The metadata of a field that is an option. more: further fields of `Option`; the default is the field's own."""
    return {"option": Option(type, help, **more)}


class Measurement(ABC):
    """What the command line shows of a way to measure models.

    name: of its command. summary: for the list of commands. description: for its own help.
    follows: the paper, and its section or table. results: what it reports: names of figures, and what they mean.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    description: ClassVar[str]
    follows: ClassVar[str]
    results: ClassVar[dict[str, str]]

    @classmethod
    def options(cls) -> dict[str, Option]:
        """The options by the name of their setting."""
        return {one.name: _with_default(one) for one in fields(cast(Any, cls)) if "option" in one.metadata}

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that were given on the command line; those that are None are left to their default.

        Raises InputError for a value that makes no sense, and where an option that is needed is missing.
        """
        return dict(_read(cls.name, cls.options(), given))


def _with_default(setting: "Field[Any]") -> Option:
    """A field's option with the field's default, as it would be typed."""
    found: Option = setting.metadata["option"]
    default = setting.default
    if default is MISSING:
        return replace(found, required=True)
    if found.type is str and isinstance(default, tuple):
        default = ",".join(map(str, default))
    return replace(found, default=default or None if isinstance(default, tuple) else default)


def _read(
    protocol: str, options: Mapping[str, Option], given: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for name, one in options.items():
        value, flag = given.get(name), flag_of(name)
        if value in (None, []):
            if one.required:
                raise InputError(f"{protocol} needs {flag} {one.metavar or 'VALUE'}: {one.help}")
            continue
        try:
            yield name, one.read(value) if one.read else value
        except InputError as error:
            raise InputError(f"{flag} {value}: {error}") from error


def flag_of(name: str) -> str:
    """A setting's option on the command line."""
    return "--" + name.replace("_", "-")


def counts(text: str) -> tuple[int, ...]:
    """Numbers from 1 on with commas between them, sorted, each once. Raises InputError for other text."""
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1:
        raise InputError("give numbers from 1 on with commas between them, such as 1,3")
    return numbers


class EvaluationProtocol(Measurement):
    """A way to measure a model on images: the prompts for each image, and what is made of the masks.

    needs_masks: whether an image without ground truth is of no use. needs_all_photos: whether the result would be
    wrong, and is refused, where one of the images cannot be read. is_timed: whether it also takes the time, so that
    one image has all cores by default and the number of threads is part of the record. needs_counter: whether
    faster-coco-eval is needed, so that its absence is reported before anything is measured.
    """

    needs_masks: ClassVar[bool] = True
    needs_all_photos: ClassVar[bool] = False
    is_timed: ClassVar[bool] = False
    needs_counter: ClassVar[bool] = False

    @property
    @abstractmethod
    def headline(self) -> str:
        """The score by which the worst masks are chosen."""

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: "Dataset", open_model: Callable[[str], OpenSegmenter]
    ) -> "EvaluationProtocol":
        """The protocol with these settings. open_model: for settings that name a model.

        Raises InputError when the dataset or a setting cannot be used.
        """
        make: Callable[..., EvaluationProtocol] = cls
        return make(**settings)

    @abstractmethod
    def measure(self, segmenter: "Segmenter", sample: "Sample", photo: int) -> PhotoResult:
        """What is measured on image number `photo`, whose ground-truth masks all have pixels."""

    @abstractmethod
    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """The report on the results of all images, given in the dataset's order."""
