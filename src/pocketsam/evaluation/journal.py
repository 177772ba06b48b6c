"""The journal of a run: every photo's result, a line each, so that a killed run goes on where it stopped."""

import json
from pathlib import Path

from pocketsam.errors import InputError
from pocketsam.evaluation.results import PhotoResult


class Journal:
    """The results so far, in a file of JSON lines.

    signature: a digest of all that determines the results. Every line bears it, so that two runs never mix.
    A line that a killed run left half written is dropped.
    Raises InputError when the file cannot be read or written, or holds results of another run.
    """

    def __init__(self, path: Path, signature: str) -> None:
        self.path, self.signature = path, signature
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            ours = [line["result"] for line in lines if line["run"] == signature]
            self.results = [PhotoResult.from_dict(result) for result in ours]
            if lines and not ours:
                raise InputError(
                    f"{path}: holds {len(lines)} photos of an unfinished run of other settings;"
                    " choose another folder, or remove it"
                )
            with path.open("ab") as file:
                file.truncate(len(whole))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._refusal(error) from error

    def add(self, result: PhotoResult) -> None:
        """Write down one photo's result. Raises InputError when that cannot be done."""
        line = {"run": self.signature, "result": result.to_dict()}
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise self._refusal(error) from error

    def remove(self) -> None:
        """The run is over, and its results lie elsewhere."""
        self.path.unlink(missing_ok=True)

    def _refusal(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or error
        return InputError(
            f"{self.path}: the results so far cannot be kept ({reason}); make room, or remove it to begin afresh"
        )
