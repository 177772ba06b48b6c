"""The files that masks can be written to, in one table: a suffix, what the format holds, and the file that writes it.

`save` reads this table, and so do the command line's help and the documentation. A new format is one file in this
folder, with a function `encode(result, suffix)`, and one line below.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pocketsam.errors import InputError

if TYPE_CHECKING:  # numpy stays out of `pocketsam --help`
    from pocketsam.predict.formats.result import Result

Content: TypeAlias = Literal["names", "scores", "holes", "overlaps", "empty"]
"""What a format may hold beside plain outlines: class names; predicted IoU; holes in a mask; pixels that belong to
several masks; whether a mask is empty."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    name: of the module in this folder that writes it. suffixes: those that mean it, in lower case.
    what: it holds, for help and documentation.
    holds: what it keeps of a result beside the outlines. needs: what a result must have: its photo, or logits.
    a_file_each: whether each of several masks gets a file of its own: NAME.0.suffix, NAME.1.suffix and so on.
    """

    name: str
    suffixes: tuple[str, ...]
    what: str
    holds: frozenset[Content] = frozenset()
    needs: Literal["photo", "logits"] | None = None
    a_file_each: bool = False

    def encode(self, result: "Result", suffix: str) -> Iterator[bytes]:
        """The contents of the file, or of the files: one, or one a mask. Raises InputError as its writer does."""
        writer: Callable[[Result, str], Iterable[bytes]] = import_module(f"{__name__}.{self.name}").encode
        return iter(writer(result, suffix))


ALL: frozenset[Content] = frozenset({"names", "scores", "holes", "overlaps", "empty"})
POLYGONS: frozenset[Content] = frozenset({"names", "scores", "overlaps"})
SHAPES: frozenset[Content] = frozenset({"holes"})

FORMATS = (
    Format("coco", (".json",), "COCO: the photo and an annotation for each mask", ALL),
    Format("labelme", (".labelme.json",), "LabelMe: polygons", POLYGONS),
    Format("geojson", (".geojson",), "GeoJSON: polygons in pixels, y pointing down", ALL),
    Format("labels", (".labels.png",), "16-bit label map: 0 is background, i + 1 is mask i", SHAPES),
    Format("cutout", (".cutout.png",), "the photo, transparent outside the mask", SHAPES, "photo", True),
    Format("overlay", (".png", ".jpg", ".jpeg", ".webp"), "the masks drawn on the photo", SHAPES, "photo"),
    Format("logits", (".npy", ".npz"), "low-resolution logits; .npz: names and scores too", ALL, "logits"),
)  # fmt: skip

ELSEWHERE = ("cvat", "labelstudio", "voc", "yolo")
"""Names of formats that are not written here: NAME.yolo.json is refused, and not taken for COCO."""


def format_of(path: str | Path, formats: Iterable[Format] = ()) -> tuple[Format, str]:
    """The format that the suffix of `path` means, and that suffix in lower case; the longest suffix counts.

    formats: those to choose from; all that there are by default.
    Raises InputError, with the list of suffixes, for a path whose suffix is none, or names another format before it,
    as NAME.cutout.jpg does; and for what is not a path.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"{path!r} is not a path; give the name of a file, such as masks.json")
    formats = tuple(formats) or FORMATS
    by_suffix = {suffix: format for format in formats for suffix in format.suffixes}
    name = Path(path).name.lower()
    fitting = [suffix for suffix in by_suffix if name.endswith(suffix)]
    if not fitting:
        raise InputError(f"{path}: the suffix says what to write; use one of {' '.join(by_suffix)}")
    suffix = max(fitting, key=len)
    named = Path(name[: -len(suffix)]).suffix[1:]
    others = {format.name for format in FORMATS if format != by_suffix[suffix]} | {*ELSEWHERE}
    if named in others:
        raise InputError(f"{path}: .{named}{suffix} is not a format; use one of {' '.join(by_suffix)}")
    return by_suffix[suffix], suffix


def formats_for(result: "Result") -> tuple[Format, ...]:
    """The formats that `result` can be written in: those with logits need some."""
    return tuple(one for one in FORMATS if one.needs != "logits" or result.logits is not None)


def means_a_file(path: Path) -> bool:
    """Whether a path ends as a file of masks does, and is therefore no folder that is still to be made."""
    return path.name.lower().endswith(tuple(suffix for format in FORMATS for suffix in format.suffixes))


def save(result: "Result", path: str | Path) -> list[Path]:
    """Write `result` in the format that the suffix of `path` means, and return the paths written.

    Each file is written whole or not at all. Raises InputError for a suffix that is no format, or none for this
    result; for a result that carries no photo, where the format shows it; and for a path that cannot be written.
    """
    from pocketsam.utils.files import write

    format, suffix = format_of(path, formats_for(result))
    path = Path(path)
    paths = [path]
    if format.a_file_each and len(result) != 1:
        stem, ending = path.name[: -len(suffix)], path.name[-len(suffix) :]
        paths = [path.with_name(f"{stem}.{i}{ending}") for i in range(len(result))]
    for file, content in zip(paths, format.encode(result, suffix), strict=True):
        write(file, content)
    return paths
