"""Labels from one format to another, photo by photo."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pocketsam.errors import InputError
from pocketsam.predict.formats import Format, format_named
from pocketsam.predict.formats.labelled import LabelledPhoto
from pocketsam.predict.formats.photos import Photos
from pocketsam.predict.formats.reading import READABLE, photos_of, read_labels
from pocketsam.predict.formats.writing import WRITABLE, choose_format, write_labels
from pocketsam.predict.image import load_image
from pocketsam.utils.files import check_not_read, check_writable
from pocketsam.utils.wording import count


@dataclass(frozen=True)
class Converted:
    """What was done. source, target: the formats. output: the file or folder. photos, objects: how many.

    files: what was written. left_out: what could not be read, a line each. lost: what the new format does not hold,
    in words. warnings: a line for each of the former, and one for all of the latter.
    """

    source: Format
    target: Format
    output: Path
    photos: int
    objects: int
    files: list[Path]
    left_out: list[str]

    @property
    def lost(self) -> list[str]:
        return [WORDS[content] for content in WORDS if content in self.source.holds - self.target.holds]

    @property
    def warnings(self) -> list[str]:
        lost = [f"{self.target.name} does not hold {', '.join(self.lost)}"] if self.lost else []
        return [f"left out: {line}" for line in self.left_out] + lost

    def __str__(self) -> str:
        several = f"{count(len(self.files), 'file')} in " if len(self.files) > 1 else ""
        return f"{count(self.objects, 'mask')} of {count(self.photos, 'photo')}: {several}{self.output}"


WORDS = {
    "names": "class names",
    "scores": "scores",
    "ids": "the numbers of masks",
    "holes": "holes",
    "overlaps": "overlaps",
    "empty": "masks without pixels",
}
"""The contents of a format, in words."""


def convert_labels(
    source: str | Path,
    target: str | Path,
    source_format: str | None = None,
    target_format: str | None = None,
    photos: str | Path | None = None,
    after_photo: Callable[[int, int | None], None] = lambda done, total: None,
) -> Converted:
    """Read the labels at `source`, a file or a folder, and write them to `target`, one as well.

    source_format, target_format: names of formats; if not given, the suffix, the layout or the content decides.
    photos: the folder of the photos, which some formats need. after_photo: is called after each photo, with the
    number of all, where it is known.
    Raises InputError for what cannot be read or written.
    """
    source, target = Path(source), Path(target)
    wanted = format_named(target_format, WRITABLE) if target_format else None
    to, _ = choose_format(target, wanted)
    check_writable(target.parent, missing=True)
    given = format_named(source_format, READABLE) if source_format else None
    labels, found = read_labels(source, given, photos)
    check_not_read(target, [source])
    pictures = photos_of(source, photos)
    done, objects = 0, 0
    left_out: list[str] = []

    def seen() -> Iterator[LabelledPhoto]:
        nonlocal done, objects
        for photo in labels.photos:
            left_out.extend(f"{source}: {photo.file_name}: {line}" for line in photo.left_out)
            yield _with_image(photo, pictures) if to.needs else photo
            done, objects = done + 1, objects + len(photo)
            after_photo(done, labels.count)

    files = write_labels(seen(), labels.classes, target, wanted)
    return Converted(found, to, target, done, objects, files, left_out)


def _with_image(photo: LabelledPhoto, photos: Photos) -> LabelledPhoto:
    """Raises InputError where the photo cannot be read, or is of another size than its labels."""
    image = load_image(photos.read(photo.file_name))
    if image.shape[:2] != photo.size:
        height, width = image.shape[:2]
        labelled = " × ".join(map(str, photo.size[::-1]))
        raise InputError(
            f"{photo.file_name}: is {width} × {height} pixels, but {labelled} in its labels; give the photos that"
            " were labelled: --photos FOLDER"
        )
    return replace(photo, image=image)
