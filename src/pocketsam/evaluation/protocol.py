"""What a protocol is: a frozen dataclass whose fields are its settings; some are options of the command line."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pocketsam.evaluation.results import PhotoResult, Report
from pocketsam.utils.options import Option, options_of, read_options

if TYPE_CHECKING:
    from pocketsam.data.sample import Dataset, Sample

OpenModel: TypeAlias = Callable[[], Any]
"""Opens the model that is measured, a `Segmenter` or a `HeadPredictor`; every worker process opens its own."""


class Measurement(ABC):
    """What the command line shows of a way to measure models.

    name: of its command. summary: for the list of commands. description: for its own help.
    follows: the paper, and its section or table. results: what it reports: names of figures, and what they mean.
    group: the command of `pocketsam` that it belongs to.
    """

    group: ClassVar[str] = "evaluate"
    name: ClassVar[str]
    summary: ClassVar[str]
    description: ClassVar[str]
    follows: ClassVar[str]
    results: ClassVar[dict[str, str]]

    @classmethod
    def options(cls) -> dict[str, Option]:
        """The options by the name of their setting."""
        return options_of(cls)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that were given on the command line; those that are None are left to their default.

        Raises InputError for a value that makes no sense, and where an option that is needed is missing.
        """
        return dict(read_options(cls.name, cls.options(), given))


class EvaluationProtocol(Measurement):
    """A way to measure a model on images: the prompts for each image, and what is made of the masks.

    needs_masks: whether an image without ground truth is of no use. shows_worst: whether its rows have the masks of
    which `--worst` makes a sheet. needs_all_photos: whether the result would be wrong, and is refused, where one of
    the images cannot be read. is_timed: whether it also takes the time, so that one image has all cores by default
    and the number of threads is part of the record. needs_counter: whether faster-coco-eval is needed, so that its
    absence is reported before anything is measured.
    """

    needs_masks: ClassVar[bool] = True
    shows_worst: ClassVar[bool] = True
    needs_all_photos: ClassVar[bool] = False
    is_timed: ClassVar[bool] = False
    needs_counter: ClassVar[bool] = False

    @property
    @abstractmethod
    def headline(self) -> str:
        """The score by which the worst masks are chosen."""

    @classmethod
    def open_data(cls, paths: Sequence[Path], photos: Path | None) -> "Dataset":
        """The images that are measured. photos: those of a JSON. Raises as `open_dataset` does."""
        from pocketsam.data.datasets import open_dataset

        return open_dataset(paths, photos, labelled=cls.needs_masks)

    @classmethod
    def opener(cls, model: str, **opening: Any) -> OpenModel:
        """What opens a model by its name, folder or file. opening: how it is run, see `Segmenter`."""
        from pocketsam.segmenter import Segmenter

        return partial(Segmenter, model, **opening)

    @classmethod
    def run_options(cls, options: Mapping[str, Option]) -> dict[str, Option]:
        """Those of the options of a run that this protocol has."""
        return {name: one for name, one in options.items() if cls.shows_worst or name != "worst"}

    @classmethod
    def build(
        cls, settings: Mapping[str, Any], dataset: "Dataset", open_model: Callable[[str], OpenModel]
    ) -> "EvaluationProtocol":
        """The protocol with these settings. open_model: for settings that name a model.

        Raises InputError when the dataset or a setting cannot be used.
        """
        make: Callable[..., EvaluationProtocol] = cls
        return make(**settings)

    @abstractmethod
    def measure(self, segmenter: Any, sample: "Sample", photo: int) -> PhotoResult:
        """What is measured on image number `photo`, whose ground-truth masks all have pixels.

        segmenter: the model, as `opener` opens it.
        """

    @abstractmethod
    def summarise(self, results: Sequence[PhotoResult]) -> Report:
        """The report on the results of all images, given in the dataset's order."""

    def pictures(
        self, results: Sequence[PhotoResult], dataset: "Dataset", open_model: OpenModel
    ) -> dict[str, bytes]:
        """Further pictures of the result, by the names of their files; none by default."""
        return {}
