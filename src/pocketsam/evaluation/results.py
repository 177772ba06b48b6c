"""What a protocol finds out, from one mask to the report: rows, photos, means, tables, curves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pocketsam.utils.rle import RLE

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Scores = dict[str, float | None]
"""What a protocol measures of one mask, each from 0 to 1; None where it cannot be asked."""


@dataclass(frozen=True)
class Row:
    """One mask measured.

    mask: the true mask's id or, where there is none, the prompt's number. area: pixels of the true mask.
    prompt: what was asked to get `answer`: "points" [[x, y], …] with "labels" [1, …], or "box" [x0, y0, x1, y1]; what
    else is in it is for the record.
    truth, answer: the true mask, and the one given for the protocol's headline, to be looked at.
    """

    mask: int
    area: int
    scores: Scores
    prompt: dict[str, Any] = field(default_factory=dict)
    truth: RLE | None = None
    answer: RLE | None = None


@dataclass(frozen=True)
class PhotoResult:
    """What one photo adds.

    photo: its number in the dataset. facts: what is measured of the photo as a whole.
    detections: further answers for what is counted over all photos at once, in the protocol's own form (JSON).
    left_out: annotations that were not measured, a line each. missing: why the photo itself was not, or "".
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
    """A table for people. lines: cells as text, the first of each a name; total: whether the last line sums up."""

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
    """The mean of every score over the masks, and counts of the masks and of the photos that have some."""

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

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        return {"photos": self.photos, "masks": self.masks, "mean_iou": {name: self[name] for name in names}}


def by_source(results: Iterable[PhotoResult]) -> dict[str, Means]:
    """The means of each source of photos, in the order of their names."""
    found: dict[str, Means] = {}
    for result in results:
        found.setdefault(result.source, Means()).add(result)
    return dict(sorted(found.items()))


def mean_report(
    results: Sequence[PhotoResult], names: Sequence[str], title: str = "mean IoU, %"
) -> tuple[dict[str, Any], Table]:
    """The means of the scores `names`, over all masks and for each source: as numbers, and as a table."""
    sources, overall = by_source(results), Means(results)
    numbers = {
        **overall.to_dict(names),
        "sources": {source: means.to_dict(names) for source, means in sources.items()},
    }
    lines = [_line(source, means, names) for source, means in sources.items()] if len(sources) > 1 else []
    lines.append(_line("all", overall, names))
    return numbers, Table(title, ["source", "photos", "masks", *names], lines, total=len(lines) > 1)


def _line(source: str, means: Means, names: Sequence[str]) -> list[str]:
    return [source, str(means.photos), str(means.masks), *(percent(means[name]) for name in names)]


def percent(value: float | None) -> str:
    """For people: "71.3", or a dash where there is nothing to average."""
    return "–" if value is None else f"{100 * value:.1f}"


def left_out(results: Iterable[PhotoResult]) -> Iterator[str]:
    """All that was not measured, a line each, photo by photo."""
    for result in results:
        yield from ([result.missing] if result.missing else [])
        yield from result.left_out
