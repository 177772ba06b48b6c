"""The folder of a result: numbers with all that determines them, tables, a line a mask, and pictures."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from pocketsam.data.sample import Dataset
from pocketsam.errors import InputError
from pocketsam.evaluation.pictures import plot, sheet, worst_cases
from pocketsam.evaluation.results import PhotoResult, Report
from pocketsam.evaluation.results import left_out as lines_left_out
from pocketsam.utils.files import write

EXAMPLES = "examples.jpg"
"""The sheet of a protocol that shows what it measures."""


def write_report(folder: Path, report: Report, record: dict[str, Any]) -> list[str]:
    """Write result.json, result.md, the report's own files and, where matplotlib is installed, its curves.

    record: all that determines the numbers. Returns the names of the files.
    Raises InputError when one cannot be written.
    """
    shown = {
        "tables": [asdict(table) for table in report.tables],
        "curves": [asdict(one) for one in report.curves],
    }
    document = {**record, "result": report.numbers, **shown}
    files = {
        "result.json": json.dumps(document, indent=2).encode() + b"\n",
        "result.md": "\n".join(table.markdown() for table in report.tables).encode(),
        **report.files,
    }
    if report.curves and (picture := plot(report.curves)):
        files["curves.png"] = picture
    for name, content in files.items():
        write(folder / name, content)
    return list(files)


def write_masks(
    folder: Path, results: Sequence[PhotoResult], dataset: Dataset, headline: str, worst: int
) -> list[str]:
    """Write masks.csv, a line a mask, and worst.jpg with the `worst` worst masks, if there are any."""
    write(folder / "masks.csv", _csv(results).encode())
    cases = worst_cases(results, headline, worst)
    if not cases:
        return ["masks.csv"]
    write(folder / "worst.jpg", sheet(cases, dataset))
    return ["masks.csv", "worst.jpg"]


def check_folder(folder: Path, record: dict[str, Any]) -> None:
    """Raises InputError when a folder holds the result of other settings than those of `record`.

    record: all that determines the numbers. The versions of packages do not count: after an upgrade the same command
    writes its result anew.
    """
    file = folder / "result.json"
    if not file.exists():
        return
    try:
        former = json.loads(file.read_bytes())
        wanted = json.loads(json.dumps(record))
        other = [name for name in wanted if name != "versions" and former.get(name) != wanted[name]]
    except (OSError, ValueError, AttributeError):
        raise InputError(
            f"{file}: is no result of an evaluation; choose another folder, or delete it"
        ) from None
    if other:
        raise InputError(
            f"{folder}: holds the result of other settings ({' and '.join(other)});"
            " choose another folder, or delete it"
        )


def left_out(results: Sequence[PhotoResult]) -> dict[str, Any]:
    """For the record: how many images were not measured, and why they and their masks were not, a line each."""
    missing = [result.missing for result in results if result.missing]
    return {"photos_missing": len(missing), "left_out": list(lines_left_out(results))}


def settings(protocol: Any) -> dict[str, Any]:
    """A protocol's settings for the record: the fields of its dataclass that JSON can hold."""
    plain = {name: _plain(value) for name, value in vars(protocol).items()}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | list | tuple):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return settings(value)
    return None


def _csv(results: Sequence[PhotoResult]) -> str:
    names = list(dict.fromkeys(name for result in results for row in result.rows for name in row.scores))
    file = StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["photo", "source", "mask", "area", *names, "prompt"])
    for result in results:
        for row in result.rows:
            scores = ("" if (score := row.scores.get(name)) is None else score for name in names)
            table.writerow([result.name, result.source, row.mask, row.area, *scores, json.dumps(row.prompt)])
    return file.getvalue()
