"""What a protocol measures, from one mask to the report: rows, images, means, tables, curves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pocketsam.utils.rle import RLE

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ALL = "all"
"""The name of a table's last line, over all images."""

MEANS_SHOWN = 4

Scores = dict[str, float | None]
"""What a protocol measures of one mask, each from 0 to 1; None where it does not apply."""


@dataclass(frozen=True)
class Row:
    """One mask measured.

    mask: the id of the ground-truth mask or, where there is none, the prompt's number. area: pixels of that mask.
    prompt: that of `answer`: "points" [[x, y], …] with "labels" [1, …], or "box" [x0, y0, x1, y1]; what else is in it
    is for the record.
    truth, answer: the ground truth, and the mask predicted for the protocol's headline.
    """

    mask: int
    area: int
    scores: Scores
    prompt: dict[str, Any] = field(default_factory=dict)
    truth: RLE | None = None
    answer: RLE | None = None


@dataclass(frozen=True)
class PhotoResult:
    """What was measured on one image.

    photo: its number in the dataset. facts: what is measured of the image as a whole.
    detections: further masks, for what is counted over all images at once, in the protocol's own form (JSON).
    left_out: annotations that were not measured, a line each. missing: why the image itself was not, or "".
    """

    photo: int
    name: str
    source: str = ""
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    detections: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives the same result back, to the last bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PhotoResult":
        return cls(**{**values, "rows": [Row(**row) for row in values["rows"]]})


@dataclass(frozen=True)
class Table:
    """A table to read. lines: cells as text, the first of each a name; total: whether the last line sums up."""

    title: str
    headings: list[str]
    lines: list[list[str]]
    total: bool = False

    def rich(self) -> "RichTable":
        """For the screen."""
        from rich.table import Table as RichTable
        from rich.text import Text

        # Text: in plain strings rich would take "[a]" for markup, and swallow it.
        table = RichTable(title=Text(self.title, "italic"), title_justify="left")
        table.add_column(self.headings[0], overflow="fold")
        for heading in self.headings[1:]:
            table.add_column(heading, justify="right")
        for i, line in enumerate(self.lines):
            last = self.total and i == len(self.lines) - 1
            if last:
                table.add_section()
            table.add_row(*map(Text, line), style="bold" if last else None)
        return table

    def markdown(self) -> str:
        rows = [self.headings, ["---", *["--:"] * (len(self.headings) - 1)], *self.lines]
        return f"{self.title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


@dataclass(frozen=True)
class Curves:
    """Lines that say more than a table. lines: the points (x, y) of each."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Report:
    """A protocol's result: numbers for JSON, tables, curves, and further files by name."""

    numbers: dict[str, Any]
    tables: list[Table]
    curves: list[Curves] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


class Mean:
    """A mean over the values that are not None."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.sum, self.count = self.sum + value, self.count + 1

    @property
    def value(self) -> float | None:
        return self.sum / self.count if self.count else None


class Means:
    """The mean of every score over the masks, and the numbers of masks and of images that have some."""

    def __init__(self, results: Iterable[PhotoResult] = ()) -> None:
        self.photos = self.masks = 0
        self.scores: dict[str, Mean] = {}
        for result in results:
            self.add(result)

    def add(self, result: PhotoResult) -> None:
        self.photos += bool(result.rows)
        self.masks += len(result.rows)
        for row in result.rows:
            for name, value in row.scores.items():
                self.scores.setdefault(name, Mean()).add(value)

    def __getitem__(self, name: str) -> float | None:
        return self.scores[name].value if name in self.scores else None

    def as_text(self) -> str:
        """The first few means in one line, for a progress bar."""
        names = list(self.scores)[:MEANS_SHOWN]
        return "  ".join(f"{name} {percent(self[name])}" for name in names)

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        return {"photos": self.photos, "masks": self.masks, "mean_iou": {name: self[name] for name in names}}


def by_source(results: Sequence[PhotoResult]) -> dict[str, Sequence[PhotoResult]]:
    """The results of each source of images, in the order of their names."""
    sources = sorted({result.source for result in results})
    return {source: [result for result in results if result.source == source] for source in sources}


def without_source(
    results: Sequence[PhotoResult], sources: Sequence[str]
) -> dict[str, Sequence[PhotoResult]]:
    """For each of these sources, as "all without SOURCE", the results of all the others."""
    return {
        f"{ALL} without {source}": [result for result in results if result.source != source]
        for source in sources
    }


def groups(results: Sequence[PhotoResult], leave_out: Sequence[str] = ()) -> dict[str, Sequence[PhotoResult]]:
    """What a table has a line for: each source, if there are several; all without one of `leave_out`; and all."""
    sources = by_source(results)
    return {
        **(sources if len(sources) > 1 else {}),
        **without_source(results, leave_out),
        ALL: results,
    }


def group_table(
    title: str,
    headings: Sequence[str],
    grouped: Mapping[str, Sequence[PhotoResult]],
    cells: Callable[[Sequence[PhotoResult]], Sequence[str]],
) -> Table:
    """A line for each of the `groups`: its name, images and masks, and what `cells` makes of its results."""
    lines = []
    for name, results in grouped.items():
        means = Means(results)
        lines.append([name, str(means.photos), str(means.masks), *cells(results)])
    return Table(title, ["source", "photos", "masks", *headings], lines, total=len(lines) > 1)


def mean_report(
    results: Sequence[PhotoResult],
    names: Sequence[str],
    title: str = "mean IoU, %",
    leave_out: Sequence[str] = (),
    headings: Sequence[str] | None = None,
) -> tuple[dict[str, Any], Table]:
    """The means of the scores `names` over all masks and in each of the `groups`: as numbers, and as a table.

    headings: of the scores, in the table; their names if not given.
    """

    def cells(part: Sequence[PhotoResult]) -> list[str]:
        means = Means(part)
        return [percent(means[name]) for name in names]

    def of_each(parts: Mapping[str, Sequence[PhotoResult]]) -> dict[str, Any]:
        return {name: Means(part).to_dict(names) for name, part in parts.items()}

    numbers = {
        **Means(results).to_dict(names),
        "sources": of_each(by_source(results)),
        **of_each(without_source(results, leave_out)),
    }
    return numbers, group_table(title, headings or names, groups(results, leave_out), cells)


def percent(value: float | None) -> str:
    """For tables: "71.3", or a dash where there is nothing to average."""
    return "–" if value is None else f"{100 * value:.1f}"


def left_out(results: Iterable[PhotoResult]) -> Iterator[str]:
    """All that was not measured, a line each, photo by photo."""
    for result in results:
        yield from ([result.missing] if result.missing else [])
        yield from result.left_out
