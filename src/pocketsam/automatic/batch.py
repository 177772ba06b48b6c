"""Everything mode on many photos: finding and writing the masks of all of them.

    photos → opened, one ahead → everything mode → a file for each photo, or the journal → one file of all photos

The journal holds every photo that is done, so that a killed run resumes where it stopped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pocketsam.automatic.options import Options
from pocketsam.automatic.proposals import Proposals
from pocketsam.engines import Engine
from pocketsam.errors import InputError
from pocketsam.predict.formats import format_of, means_a_file
from pocketsam.predict.formats.coco import object_of
from pocketsam.predict.formats.labelled import Classes, LabelledPhoto
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.predict.formats.writing import WRITABLE, check_names, write_labels
from pocketsam.predict.photo_files import (
    PhotoOutcome,
    failure,
    find_photos,
    make_folder,
    names_in_one_file,
    unique_names,
)
from pocketsam.utils.files import check_not_read
from pocketsam.utils.journal import Journal
from pocketsam.utils.prefetch import prefetch
from pocketsam.utils.wording import count

JOURNAL = 2
"""The version of what the journal keeps; journals of another version are of other settings."""


class OpenPhoto(Protocol):
    """An encoded photo, such as a `Photo`."""

    def everything(self, **options: Any) -> Proposals:
        """The masks of all objects in it."""
        ...


class PhotoOpener(Protocol):
    """What opens and encodes photos, such as a `Segmenter`. engine: what runs its model."""

    engine: Engine

    def open(self, source: Path, /) -> OpenPhoto:
        """The photo in a file. Raises InputError when it cannot be read."""
        ...


@dataclass(frozen=True)
class Outcome(PhotoOutcome):
    """The result for a photo. masks: 0 is a result, too. resumed: whether an earlier run had found them."""

    resumed: bool = False


def everything_in_photos(
    segmenter: PhotoOpener,
    photos: Iterable[str | Path],
    output: str | Path,
    *,
    overlays: bool = False,
    settings: Mapping[str, Any] | None = None,
    after_photo: Callable[[Outcome], None] = lambda outcome: None,
    **options: Any,
) -> list[Outcome]:
    """Find all objects in each photo, write the masks, and return each photo's outcome, in order.

    photos: photos, and folders of photos.
    output: a file for all photos, in the format that its suffix means, or a folder, for a NAME.masks.json of each.
    overlays: whether to draw a NAME.overlay.jpg of each, in the same folder.
    settings: what else determines the masks beside the model and the options, such as the engine's precision.
    after_photo: gets each outcome as soon as it is known; those of an earlier run come first.
    options: the fields of `automatic.options.Options`.

    Until all photos are done, the results are kept in a journal: OUTPUT.part beside the file, or everything.part in
    the folder. After a run that was killed, the next with the same model, options and settings resumes there. A
    photo that fails does not stop the others. A photo without masks is an image without annotations.
    Raises InputError when an option is refused, the journal is of other settings, or nothing can be written.
    """
    photos, output = find_photos(photos), Path(output)
    single = is_one_file(output, len(photos))
    own = output if single and format_of(output)[0].many == "files" else None
    if single:
        check_not_read(output, photos)
        check_names(names_in_one_file(photos), output)
    folder = output.parent if single else output
    make_folder(folder, len(photos))
    targets = [
        # Not NAME.json: beside a photo, that is the file of its own annotations.
        _Target(
            photo,
            own if single else folder / f"{name}.masks.json",
            folder / f"{name}.overlay.jpg" if overlays else None,
        )
        for photo, name in zip(photos, unique_names(photos), strict=True)
    ]
    all_settings = {
        "journal": JOURNAL,
        "model": asdict(segmenter.engine.config),
        "numerics": segmenter.engine.info.numerics,
        "options": asdict(Options.of(**options)),
        **(settings or {}),
    }
    results = output.with_name(f"{output.name}.part") if single else folder / "everything.part"
    journal = Journal(results, all_settings, on_disk=["annotations"])
    outcomes = _find_in_all(segmenter, targets, options, journal, after_photo)
    done = [photo for photo in photos if outcomes[photo].error is None]
    if single and not own and done:
        write_labels(_labels(done, journal), Classes([DEFAULT_NAME]), output)
    journal.remove()
    return [outcomes[photo] for photo in photos]


def is_one_file(output: Path, photos: int) -> bool:
    """Whether the masks of all photos go into one file, and not into a file for each photo in a folder.

    Raises InputError for a file whose format holds no proposals, or not those of so many photos.
    """
    if output.is_dir() or not means_a_file(output):
        return False
    if format_of(output, WRITABLE)[0].many == "files" and photos > 1:
        raise InputError(f"{output}: is of one photo, but there are {photos}; give FILE.json or a folder")
    return True


def summary(outcomes: Sequence[Outcome], output: Path) -> str:
    """A line for the end: where the results are, how many masks were found, and in how many photos."""
    done = [outcome for outcome in outcomes if not outcome.error]
    resumed, masks = sum(outcome.resumed for outcome in done), sum(outcome.masks for outcome in done)
    results = output
    if len(outcomes) == 1 and not is_one_file(output, 1):
        results = output / f"{outcomes[0].photo.stem}.masks.json"
    found = count(masks, "mask") if masks else "no masks found"
    by_earlier_run = f", {resumed} of them done by an earlier run" if resumed else ""
    return f"{results}: {found} in {count(len(done), 'photo')}{by_earlier_run}"


@dataclass(frozen=True)
class _Target:
    """A photo and the files to be written for it alone."""

    photo: Path
    masks: Path | None
    overlay: Path | None

    @property
    def files(self) -> list[Path]:
        return [file for file in (self.masks, self.overlay) if file]

    def mark(self) -> dict[str, Any]:
        """What the journal compares: whether the photo has changed since, and whether the same files are wanted."""
        found = self.photo.stat()
        return {
            "bytes": found.st_size,
            "modified": found.st_mtime_ns,
            "files": [file.name for file in self.files],
        }


def _find_in_all(
    segmenter: PhotoOpener,
    targets: Sequence[_Target],
    options: dict[str, Any],
    journal: Journal,
    after_photo: Callable[[Outcome], None],
) -> dict[Path, Outcome]:
    """The outcome of each photo: first of those in the journal, then of the others, which are added to it."""
    outcomes = {}

    def note(outcome: Outcome) -> None:
        outcomes[outcome.photo] = outcome
        after_photo(outcome)

    waiting = []
    for target in targets:
        if _is_done(target, journal):
            note(Outcome(target.photo, journal.entries[str(target.photo)]["masks"], resumed=True))
        else:
            waiting.append(target)
    with prefetch(segmenter.open, [target.photo for target in waiting]) as opened:
        for target, photo in zip(waiting, opened, strict=True):
            try:
                entry = _find(photo, target, options)
            except (InputError, OSError, MemoryError) as error:
                note(Outcome(target.photo, error=failure(target.photo, error)))
                continue
            journal.add(str(target.photo), entry)
            note(Outcome(target.photo, entry["masks"]))
    return outcomes


def _is_done(target: _Target, journal: Journal) -> bool:
    entry = journal.entries.get(str(target.photo))
    if entry is None or not all(file.exists() for file in (target.photo, *target.files)):
        return False
    return bool(entry["mark"] == target.mark())


def _find(photo: Future[OpenPhoto], target: _Target, options: dict[str, Any]) -> dict[str, Any]:
    """Write the files of a photo, and return its entry for the journal, with its masks if they have no own file."""
    found = photo.result().everything(**options)
    for file in target.files:
        found.save(file)
    entry = {"mark": target.mark(), "size": found.size, "masks": len(found)}
    return entry if target.masks else entry | {"annotations": found.coco_annotations()}


def _labels(photos: Sequence[Path], journal: Journal) -> Iterator[LabelledPhoto]:
    """The masks of each photo, from the journal."""
    for photo, name in zip(photos, names_in_one_file(photos), strict=True):
        height, width = journal.entries[str(photo)]["size"]
        found = journal.read(str(photo))["annotations"]
        objects = tuple(object_of(one, lambda _: DEFAULT_NAME, (height, width)) for one in found)
        yield LabelledPhoto(name, (height, width), objects)
