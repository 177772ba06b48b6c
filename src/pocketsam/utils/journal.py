"""A journal: what a long run has finished, an entry a line, so that a killed run resumes where it stopped."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pocketsam.errors import InputError

Entry: TypeAlias = dict[str, Any]
"""What is kept of one finished piece of work, such as an image: anything that JSON can hold."""

_OPENING = b'{"run": "'
"""How every line begins; a file that begins otherwise is no journal."""


class Journal:
    """The finished entries of a run by name, in a file of JSON lines.

    path: the file; it is made when the first entry is added.
    settings: all that determines the results. Every line bears their digest, so that two runs never mix.
    on_disk: the keys of an entry that are too large to be kept in memory; `read` fetches them from the file.
    A line that a killed run left half written is dropped. Of several entries of one name the last one counts.
    Raises InputError when the file cannot be read or written, is no journal, or is of other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], on_disk: Sequence[str] = ()) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self._run, self._on_disk = settings_digest(settings), frozenset(on_disk)
        self._places: dict[str, int] = {}
        try:
            if path.exists():
                self._load()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._refusal(error) from error

    def add(self, name: str, entry: Entry) -> None:
        """Write down a finished entry. Raises InputError when that cannot be done."""
        line = json.dumps({"run": self._run, "name": name, "entry": entry}).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                place = file.tell()
                file.write(line)
        except OSError as error:
            raise self._refusal(error) from error
        self._note(name, entry, place)

    def read(self, name: str) -> Entry:
        """The whole entry of this name, with what is kept on the disk alone."""
        with self.path.open("rb") as file:
            file.seek(self._places[name])
            entry: Entry = json.loads(file.readline())["entry"]
        return entry

    def remove(self) -> None:
        """The run is over, and its results are kept elsewhere."""
        self.path.unlink(missing_ok=True)

    def _load(self) -> None:
        """Note this run's entries, and cut off a line that is not whole. Raises as the constructor does."""
        others = end = 0
        for place, line in self._lines():
            found = json.loads(line)
            if found["run"] == self._run:
                self._note(found["name"], found["entry"], place)
            else:
                others += 1
            end = place + len(line)
        if others and not self.entries:
            raise InputError(
                f"{self.path}: is of an unfinished run of other settings ({others} done);"
                " delete it, or choose another place for the results"
            )
        with self.path.open("ab") as file:
            file.truncate(end)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """The whole lines, each with its place in the file in bytes. Raises ValueError if it is no journal."""
        place = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.startswith(_OPENING[: len(line)]):
                    raise ValueError("it is another file")
                if not line.endswith(b"\n"):
                    return
                yield place, line
                place += len(line)

    def _note(self, name: str, entry: Entry, place: int) -> None:
        self.entries[name] = {key: value for key, value in entry.items() if key not in self._on_disk}
        self._places[name] = place

    def _refusal(self, error: Exception) -> InputError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return InputError(
            f"{self.path}: the results so far cannot be kept there ({reason});"
            " make room, or delete it and begin afresh"
        )


def settings_digest(settings: Mapping[str, Any]) -> str:
    """The sha256 of settings that JSON can hold, NumPy arrays among them, whatever the order of their names."""
    text = json.dumps(settings, sort_keys=True, default=lambda array: np.asarray(array).tolist())
    return hashlib.sha256(text.encode()).hexdigest()
