"""Pascal VOC (Everingham et al. 2010): pictures whose colours are the classes, others whose colours are the objects.

`SegmentationClass/NAME.png` and `SegmentationObject/NAME.png` have VOC's palette; `labelmap.txt` says which colour is
which class, as CVAT and Datumaro write it. Small masks lie above large ones; 255, which VOC uses for contours, is no
object.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketsam.errors import InputError
from pocketsam.predict.formats.archive import zipped
from pocketsam.predict.formats.labelled import (
    Classes,
    LabelledObject,
    LabelledPhoto,
    LabelSet,
    labelled,
    stem_of,
)
from pocketsam.predict.formats.labels import label_map, masks_of, read_map
from pocketsam.predict.formats.photos import Folder, Photos, files_in
from pocketsam.predict.formats.result import DEFAULT_NAME, Result

CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant"  # noqa: SIM905
    " sheep sofa train tvmonitor".split()
)
"""Those of VOC's own data, which has no labelmap.txt."""
MOST = 254
_CLASS, _OBJECT = "SegmentationClass", "SegmentationObject"


def encode(result: Result, suffix: str) -> list[bytes]:
    """A ZIP file of what `files` gives for a single photo."""
    return [zipped(files([result], Classes.of(result.names)))]


def files(photos: Iterable[Result], classes: Classes) -> Iterator[tuple[str, bytes]]:
    """Each file's name in the folder of the data set, and its content."""
    stems = []
    for photo in map(labelled, photos):
        stem = stem_of(photo)
        if len(photo) > MOST:
            raise InputError(
                f"{photo.file_name}: VOC holds {MOST} masks of a photo, but there are {len(photo)}"
            )
        objects = label_map(photo, MOST)
        classes_of = np.zeros(MOST + 2, np.int64)
        for one, value in zip(photo.objects, _values(photo), strict=True):
            classes_of[value] = classes.index(one.name) + 1
        if len(classes) > MOST:
            raise InputError(f"VOC holds {MOST} classes, but there are more; choose another format")
        stems.append(stem)
        yield f"{_CLASS}/{stem}.png", _png(classes_of[objects])
        yield f"{_OBJECT}/{stem}.png", _png(objects)
    yield "ImageSets/Segmentation/default.txt", "".join(f"{stem}\n" for stem in stems).encode()
    yield "labelmap.txt", _label_map(classes).encode()


def is_folder(folder: Folder) -> bool:
    """Whether a folder is in VOC's layout."""
    return any((folder / name).is_dir() for name in (_CLASS, _OBJECT))


def read(folder: Folder, photos: Photos) -> LabelSet:
    """The photos that have a picture of classes or of objects. Without objects, each class is one."""
    names = _colours(folder)
    classes = Classes(name for name in names.values() if name)
    paths = sorted(
        {
            path
            for kind in (_CLASS, _OBJECT)
            if (folder / kind).is_dir()
            for path, _ in files_in(folder / kind)
        }
    )
    pictures = [path for path in paths if path.lower().endswith(".png")]
    return LabelSet((_photo(folder, path, photos, names) for path in pictures), classes, len(pictures))


def palette() -> NDArray[np.uint8]:
    """VOC's 256 colours (256, 3): bit i of each channel, from the top, is bit 3 i and so on of the number."""
    numbers = np.arange(256)
    channels = [
        sum(((numbers >> (3 * i + channel)) & 1) << (7 - i) for i in range(8)) for channel in range(3)
    ]
    return np.stack(channels, axis=1).astype(np.uint8)


def _values(photo: LabelledPhoto) -> list[int]:
    """The value of each object in `label_map`."""
    ids = [one.id or 0 for one in photo.objects]
    return ids if max(ids, default=0) <= MOST else list(range(1, len(ids) + 1))


def _png(values: NDArray[np.int64]) -> bytes:
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(palette().ravel().tolist())
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _label_map(classes: Classes) -> str:
    colours = palette().tolist()
    names = ["background", *(one.name for one in classes)]
    rows = [f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in zip(names, colours, strict=False)]
    return "# label:color_rgb:parts:actions\n" + "".join(rows)


def _colours(folder: Folder) -> dict[int, str]:
    """The class of each colour, "" for background."""
    table = folder / "labelmap.txt"
    if not table.is_file():
        colours = _numbers(palette()).tolist()
        return dict(zip(colours, ["", *CLASSES], strict=False))
    found = {}
    for line in table.read_text("utf-8").splitlines():
        if line.startswith("# ") or not line.strip():
            continue
        try:
            name, colour, _, _ = line.rsplit(":", 3)
            red, green, blue = map(int, colour.split(","))
        except ValueError as error:
            raise ValueError(f"labelmap.txt has the line {line!r}, which is not NAME:R,G,B::") from error
        found[red << 16 | green << 8 | blue] = "" if name == "background" else name
    return found


def _photo(folder: Folder, place: str, photos: Photos, names: dict[int, str]) -> LabelledPhoto:
    kinds = [_picture(folder / kind / place) for kind in (_CLASS, _OBJECT)]
    classes, objects = kinds
    either = next(picture for picture in kinds if picture is not None)
    ids = {colour: id for id, colour in enumerate(_numbers(palette()).tolist())}
    found, left_out = [], []
    for colour, rle in masks_of(either if objects is None else objects):
        id = ids.get(colour)
        if id == MOST + 1:
            continue
        within = colour if objects is None else _most_common(classes, objects == colour)
        if within is not None and within not in names:
            left_out.append(f"object {id} is of a colour that labelmap.txt does not name")
            continue
        name = DEFAULT_NAME if within is None else names[within]
        if name:
            found.append(LabelledObject(rle, name, id=None if objects is None else id))
    height, width = either.shape
    stem = str(PurePosixPath(place).with_suffix(""))
    return LabelledPhoto(photos.name(stem, ".jpg"), (height, width), tuple(found), left_out=tuple(left_out))


def _picture(path: Folder) -> NDArray[np.int64] | None:
    """The colours of a picture (H, W), as numbers, or None without a picture."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    values = read_map(content)
    with Image.open(BytesIO(content)) as image:
        if image.mode == "P":
            used = np.array(image.getpalette("RGB"), np.int64).reshape(-1, 3)
            table = np.concatenate([used, np.zeros((256 - len(used), 3), np.int64)])
            return np.asarray(_numbers(table)[values])
        if image.mode == "L":
            return np.asarray(_numbers(palette())[values])
    return values


def _most_common(classes: NDArray[np.int64] | None, where: NDArray[np.bool_]) -> int | None:
    if classes is None:
        return None
    colours, counts = np.unique(classes[where], return_counts=True)
    return int(colours[counts.argmax()])


def _numbers(colours: NDArray[np.generic]) -> NDArray[np.int64]:
    return np.asarray(colours.astype(np.int64) @ [65536, 256, 1])
