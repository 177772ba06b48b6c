"""ImageNet's layout: a folder of photos for each class, on disk or in tar files.

`ROOT/CLASS/NAME.jpg`, where ROOT is a folder, a tar file, or a folder in a tar file, such as `photos.tar/train`. Of
ImageNet's own archive the tar files of the classes, `n01440764.tar` and so on, can be read as they are.
"""

import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pocketsam.data.decode import decode_photo
from pocketsam.data.sa1b import Entry, Span
from pocketsam.data.sample import Sample, find_files
from pocketsam.errors import DataError
from pocketsam.predict.image import PHOTO_ENDINGS


class ClassFolders:
    """The photos of any number of roots, class by class in the order of their names.

    Args:
        roots: folders of class folders, tar files, or folders in tar files.
        classes: the classes that there may be, by which `label` counts; those that the roots have, if not given.

    classes: the names of the classes. labels: the number of the class of each photo.

    Raises:
        DataError: a root does not exist or holds no class folders, a class has no photo, or is not one of `classes`.
    """

    def __init__(self, roots: Sequence[str | Path], classes: Sequence[str] | None = None) -> None:
        found: dict[str, list[Entry]] = defaultdict(list)
        for root in roots:
            for name, entries in _classes(Path(root)).items():
                if not entries:
                    raise DataError(f"{root}: the class folder {name} has no photo; add photos or remove it")
                if classes is not None and name not in classes:
                    raise DataError(
                        f"{root}: the class {name} is not one of the {len(classes)} classes of the model"
                    )
                found[name] += entries
        self.classes = sorted(found) if classes is None else list(classes)
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.entries = [entry for name in sorted(found) for entry in found[name]]
        self.labels = [numbers[name] for name in sorted(found) for _ in found[name]]

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, i: int) -> Sample:
        """Photo number i, decoded, without masks. Raises DataError naming its file."""
        entry = self.entries[i]
        try:
            image = decode_photo(entry.photo.read())
        except ValueError as error:
            raise DataError(f"{entry}: its photo {error}") from error
        return Sample(entry.name, image, [], [], location=str(entry))

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`: none."""
        return 0


def _classes(root: Path) -> dict[str, list[Entry]]:
    """The photos of each class in a root; a class without photos has an empty list."""
    if root.is_dir():
        return _in_folder(root)
    tar = next((path for path in (root, *root.parents) if path.suffix == ".tar" and path.is_file()), None)
    if tar is None:
        raise DataError(f"{root}: no such file or folder")
    return _in_tar(tar, root.relative_to(tar).as_posix())


def _in_folder(root: Path) -> dict[str, list[Entry]]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    tars = sorted(root.glob("*.tar"))
    if not folders and not tars:
        raise DataError(f"{root}: has no class folders; ImageNet's layout is expected, CLASS/NAME.jpg")
    found = {
        folder.name: [
            Entry(f"{folder.name}/{photo.stem}", Span(photo, 0, photo.stat().st_size), None)
            for photo in find_files(folder, PHOTO_ENDINGS)
        ]
        for folder in folders
    }
    for tar in tars:
        for name, entries in _in_tar(tar, ".").items():
            found.setdefault(name, []).extend(entries)
    return found


def _in_tar(tar: Path, inside: str) -> dict[str, list[Entry]]:
    """The classes in the folder `inside` of a tar file; photos in no folder are of the class that names the file."""
    found: dict[str, list[Entry]] = defaultdict(list)
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                path = PurePosixPath(member.name)
                if not path.is_relative_to(inside):
                    continue
                path = path.relative_to(inside)
                if member.isdir() and len(path.parts) == 1:
                    found.setdefault(path.name, [])
                elif member.isfile() and path.suffix.lower() in PHOTO_ENDINGS:
                    if len(path.parts) > 2:
                        raise DataError(
                            f"{tar}: {member.name} lies deeper than CLASS/NAME.jpg; give {tar}/{path.parts[0]}"
                        )
                    name = path.parts[0] if len(path.parts) == 2 else tar.stem
                    span = Span(tar, member.offset_data, member.size)
                    found[name].append(Entry(f"{name}/{path.stem}", span, None))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{tar}: not a readable tar file ({error}); fetch it again") from error
    if not any(found.values()):
        raise DataError(f"{tar}: no photo in {inside}; ImageNet's layout is expected, CLASS/NAME.jpg")
    return dict(found)
