"""Work on many photos: finding them, naming their results, and saying what became of each."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pocketsam.errors import InputError
from pocketsam.predict.image import PHOTO_ENDINGS
from pocketsam.utils.files import as_text, check_writable


@dataclass(frozen=True)
class PhotoOutcome:
    """What became of a photo. masks: how many were found. error: a line that says why it failed, or None.

    files: that were written. warnings: a line for each thing that went wrong and did not stop it.
    """

    photo: Path
    masks: int = 0
    error: str | None = None
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """What was written, a line each."""
        return [f"  {file}" for file in self.files]


def find_photos(given: Iterable[str | Path]) -> list[Path]:
    """The photos among `given`, and those in the folders among them, each once.

    Raises InputError when there are none in a folder.
    """
    found = []
    for path in map(Path, given):
        if not path.is_dir():
            found.append(path)
            continue
        photos = sorted(file for file in path.iterdir() if _is_photo(file))
        if not photos:
            raise InputError(f"{path}: there are no photos in this folder")
        found += photos
    return list(dict.fromkeys(found))


def _is_photo(file: Path) -> bool:
    ours = file.stem.endswith((".overlay", ".cutout", ".labels"))  # what an earlier run left there
    return file.suffix.lower() in PHOTO_ENDINGS and not file.name.startswith(".") and not ours


def unique_names(photos: Sequence[Path]) -> list[str]:
    """A name for the results of each photo: its own without the suffix and, where several share it, a number."""
    taken: set[str] = set()
    names = []
    for photo in photos:
        name = photo.stem
        for again in count(2):  # photos from several folders, or x.jpg beside x.png
            if name.lower() not in taken:
                break
            name = f"{photo.stem}-{again}"
        taken.add(name.lower())
        names.append(name)
    return names


def names_in_one_file(photos: Sequence[Path]) -> list[str]:
    """What to call each photo in a file of all of them: its name or, where several share it, its path.

    The path is that within the folder that holds all photos.
    """
    shared = Counter(photo.name for photo in photos)
    if max(shared.values(), default=1) == 1:
        return [as_text(photo.name) for photo in photos]
    paths = [Path(os.path.abspath(photo)) for photo in photos]
    try:
        folder = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # on several drives
        return [as_text(photo.as_posix()) for photo in photos]
    return [
        as_text(path.name if shared[path.name] == 1 else path.relative_to(folder).as_posix())
        for path in paths
    ]


def make_folder(folder: Path, photos: int) -> None:
    """Make a folder for the results of `photos` photos. Raises InputError when that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        several = "for several photos, " if photos > 1 else ""
        raise InputError(
            f"{folder}: is no folder and cannot become one ({error.strerror}); {several}give a folder"
        ) from error
    check_writable(folder)


def failure(photo: Path, error: Exception) -> str:
    """Why a photo failed, in one line that begins with its path."""
    return str(error) if isinstance(error, InputError) else f"{photo}: {error or 'out of memory'}"


def check_all_done(outcomes: Sequence[PhotoOutcome]) -> None:
    """At the end of a run: InputError with the photos that failed or, of a single photo, with its own line."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    if len(outcomes) == 1:
        raise InputError(failed[0].error)
    names = ", ".join(str(outcome.photo) for outcome in failed)
    done = len(outcomes) - len(failed)
    raise InputError(f"{done} of {len(outcomes)} photos are done; these failed: {names}")
