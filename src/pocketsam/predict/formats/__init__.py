"""The files that masks can be written to and read from, in one table: a suffix, what it holds, and the file for it.

`save`, `read_labels` and `write_labels` read this table, and so do the command line's help, the page and the
documentation. A new format is one file in this folder, with a function `encode(result, suffix)`, and one line below.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pocketsam.errors import InputError

if TYPE_CHECKING:  # numpy stays out of `pocketsam --help`
    from pocketsam.predict.formats.result import Result

Content: TypeAlias = Literal["names", "scores", "ids", "holes", "overlaps", "empty"]
"""What a format may hold beside plain outlines: class names; predicted IoU; the number of each mask; holes in a mask;
pixels that belong to several masks; masks without pixels."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    name: of the module in this folder that writes it. suffixes: those that mean it, in lower case.
    what: it holds, for help and documentation.
    holds: what it keeps of a result beside the outlines. needs: what a result must have: its photo, or logits.
    a_file_each: whether each of several masks gets a file of its own: NAME.0.suffix, NAME.1.suffix and so on.
    many: where the masks of many photos are: in a file for each photo, in one file, or in a folder in its own layout.
    The module of a file has `encode_all(photos, suffix, classes)`, that of a folder `files(photos, classes)`.
    reads: whether the module can read it, too: a file by `decode`, a folder by `read`.
    """

    name: str
    suffixes: tuple[str, ...]
    what: str
    holds: frozenset[Content] = frozenset()
    needs: Literal["photo", "logits"] | None = None
    a_file_each: bool = False
    many: Literal["files", "file", "folder"] = "files"
    reads: bool = False

    @property
    def module(self) -> Any:
        """The module that writes and reads the format."""
        return import_module(f"{__name__}.{self.name}")

    def encode(self, result: "Result", suffix: str) -> Iterator[bytes]:
        """The contents of the file, or of the files: one, or one a mask. Raises InputError as its writer does."""
        writer: Callable[[Result, str], Iterable[bytes]] = self.module.encode
        return iter(writer(result, suffix))


ALL: frozenset[Content] = frozenset({"names", "scores", "ids", "holes", "overlaps", "empty"})
NOT_EMPTY = ALL - {"empty"}
NAMED: frozenset[Content] = frozenset({"names", "holes", "overlaps"})
SHAPES: frozenset[Content] = frozenset({"holes"})

FORMATS = (
    Format(
        "coco", (".json", ".polygons.json"), "COCO: run lengths, or polygons", ALL, many="file", reads=True
    ),
    Format("labelme", (".labelme.json",), "LabelMe: polygons", NOT_EMPTY, reads=True),
    Format(
        "cvat",
        (".cvat.xml", ".polygons.cvat.xml"),
        "CVAT for images 1.1: masks, or polygons",
        NAMED,
        many="file",
        reads=True,
    ),
    Format(
        "labelstudio",
        (".labelstudio.json", ".polygons.labelstudio.json"),
        "Label Studio: brush strokes, or polygons",
        ALL,
        many="file",
        reads=True,
    ),
    Format(
        "yolo", (".yolo.zip",), "YOLO: segmentation labels and data.yaml", NAMED, many="folder", reads=True
    ),
    Format(
        "voc",
        (".voc.zip",),
        "Pascal VOC: pictures of classes and of objects",
        SHAPES | {"names", "ids"},
        many="folder",
        reads=True,
    ),
    Format("geojson", (".geojson",), "GeoJSON: polygons in pixels, y pointing down", ALL, reads=True),
    Format("svg", (".svg",), "SVG: the outlines as paths", ALL, reads=True),
    Format(
        "labels",
        (".labels.png",),
        "16-bit label map: 0 is background, i + 1 is mask i",
        SHAPES | {"ids"},
        reads=True,
    ),
    Format("cutout", (".cutout.png",), "the photo, transparent outside the mask", SHAPES, "photo", True),
    Format("overlay", (".png", ".jpg", ".jpeg", ".webp"), "the masks drawn on the photo", SHAPES, "photo"),
    Format(
        "logits",
        (".npy", ".npz"),
        "low-resolution logits; .npz: names and scores too",
        ALL - {"ids"},
        "logits",
    ),
)


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
    others = {format.name for format in FORMATS if format != by_suffix[suffix]}
    if named in others:
        raise InputError(f"{path}: .{named}{suffix} is not a format; use one of {' '.join(by_suffix)}")
    return by_suffix[suffix], suffix


def format_named(name: str, formats: Iterable[Format] = ()) -> Format:
    """The format of a name, among `formats` or all. Raises InputError, with the list of names, for other names."""
    known = {format.name: format for format in tuple(formats) or FORMATS}
    if name not in known:
        raise InputError(f"{name}: is not a format; use one of {', '.join(known)}")
    return known[name]


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
