"""Labels written in each format and read back: what the format holds is the same."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pocketsam.predict.formats import FORMATS, Format, format_named
from pocketsam.predict.formats.converting import convert_labels
from pocketsam.predict.formats.labelled import Classes, LabelledObject, LabelledPhoto
from pocketsam.predict.formats.reading import READABLE, read_labels
from pocketsam.predict.formats.writing import write_labels
from pocketsam.utils.rle import areas, decode, encode


@dataclass(frozen=True)
class Way:
    """A format, one of its suffixes, and whether it is written as a folder."""

    format: Format
    suffix: str
    folder: bool

    def __str__(self) -> str:
        return f"{self.suffix}{' in a folder' * self.folder}"

    def write(self, photos: list[LabelledPhoto], classes: Classes, folder: Path) -> Path:
        target = folder / ("labels of photos" if self.folder else f"labels{self.suffix}")
        write_labels(photos, classes, target, self.format if self.folder else None)
        return target

    def holds(self, content: str) -> bool:
        """The polygons of Label Studio lose masks without pixels, and those of CVAT gain numbers."""
        kind = (self.format.name, self.suffix.startswith(".polygons"), content)
        if kind in {("labelstudio", True, "empty"), ("cvat", True, "ids")}:
            return content == "ids"
        return content in self.format.holds


WAYS = [
    Way(format, suffix, folder)
    for format in READABLE
    for suffix in format.suffixes
    for folder in (False, True)
    if (folder or format.many != "files") and not (folder and suffix.startswith(".polygons"))
]
EACH_WAY = pytest.mark.parametrize("way", WAYS, ids=str)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"]),
    min_size=1,
    max_size=12,
).map(str.strip).filter(bool)  # fmt: skip
STEMS = st.lists(
    st.sampled_from(["größe", "写真 1", "a.b", "x/y", "x/z/ü", "φωτό", "IMG_0001", "a b+c#1%20"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@st.composite
def labelled_photos(draw: st.DrawFn) -> list[LabelledPhoto]:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    ids = draw(st.permutations(range(1, 4 * 3 + 1)))
    photos = []
    for stem in draw(STEMS):
        size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
        masks = draw(st.lists(arrays(bool, size), max_size=3))
        objects = [
            LabelledObject(
                encode(mask),
                draw(st.sampled_from(names)),
                draw(st.none() | st.floats(0, 1, width=32)),
                ids.pop(),
            )
            for mask in masks
        ]
        ending = draw(st.sampled_from([".jpg", ".png"]))
        photos.append(LabelledPhoto(f"{stem}{ending}", size, tuple(objects)))
    return photos


@contextmanager
def photos_on_disk(photos: list[LabelledPhoto]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        for photo in photos:
            file = Path(name) / "photos" / photo.file_name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", photo.size[::-1]).save(file)
        yield Path(name)


def expected(photo: LabelledPhoto, way: Way) -> list[LabelledObject]:
    """What is left of the objects of a photo, in the order of their numbers."""
    objects = list(photo.objects)
    if not way.holds("overlaps"):
        objects = apart(objects)
    if not way.holds("empty"):
        objects = [one for one in objects if areas([one.rle])[0]]
    return sorted((held(one, way) for one in objects), key=str)


def apart(objects: list[LabelledObject]) -> list[LabelledObject]:
    """Objects without the pixels of smaller ones or, of the same size, of later ones."""
    masks = [decode(one.rle) for one in objects]
    order = np.argsort([-mask.sum() for mask in masks], kind="stable")
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            masks[i] &= ~masks[j]
    return [replace(one, rle=encode(mask)) for one, mask in zip(objects, masks, strict=True)]


def held(one: LabelledObject, way: Way) -> LabelledObject:
    return LabelledObject(
        one.rle,
        one.name if way.holds("names") else "object",
        one.score if way.holds("scores") else None,
        one.id if way.holds("ids") else None,
    )


@EACH_WAY
@settings(max_examples=15, deadline=None)
@given(photos=labelled_photos())
def test_what_a_format_holds_is_the_same(way: Way, photos: list[LabelledPhoto]) -> None:
    with photos_on_disk(photos) as folder:
        written = way.write(photos, Classes(), folder)
        labels, format = read_labels(written, photos=folder / "photos")
        assert format == way.format
        back = {photo.file_name: photo for photo in labels.photos}
    assert {*back} == {photo.file_name for photo in photos}
    for photo in photos:
        found = back[photo.file_name]
        assert (found.size, found.left_out) == (photo.size, ())
        assert sorted((held(one, way) for one in found.objects), key=str) == expected(photo, way)


def photo_of(*names: str, file_name: str = "a.jpg") -> LabelledPhoto:
    """Of 30 × 20 pixels, with a ring of two parts for each name."""
    mask = np.zeros((20, 30), bool)
    mask[2:12, 3:15] = True
    mask[5:8, 6:9] = False
    mask[15, 20] = True
    objects = (
        LabelledObject(encode(np.roll(mask, 3 * i, 1)), name, id=i + 1) for i, name in enumerate(names)
    )
    return LabelledPhoto(file_name, (20, 30), tuple(objects))


@pytest.mark.parametrize("way", [way for way in WAYS if way.format.many != "files"], ids=str)
def test_classes_keep_their_order_unless_the_format_has_none(way: Way, tmp_path: Path) -> None:
    photos = [photo_of("shoe", "cap"), photo_of("bag", file_name="b.jpg")]
    for photo in photos:
        Image.new("L", (30, 20)).save(tmp_path / photo.file_name)
    written = way.write(photos, Classes(["cap", "hat"]), tmp_path / "out")
    labels, _ = read_labels(written, photos=tmp_path)
    assert len(list(labels.photos)) == 2
    expected = [] if way.format.name == "labelstudio" else ["cap", "hat", "shoe", "bag"]
    assert [category.name for category in labels.classes] == expected


@pytest.mark.parametrize("target", [one.name for one in FORMATS if one.needs != "logits"])
@pytest.mark.parametrize("source", [one.name for one in READABLE])
def test_all_formats_become_all_others(source: str, target: str, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    write_labels([photo_of("shoe", "cap")], Classes(), tmp_path / "first", format_named(source))
    done = convert_labels(tmp_path / "first", tmp_path / "second", None, target, tmp_path)
    assert (done.source.name, done.target.name, done.photos, done.objects) == (source, target, 1, 2)
    assert all(file.exists() for file in done.files)
    if done.target.reads:
        (photo,) = read_labels(tmp_path / "second", photos=tmp_path)[0].photos
        union = np.any([decode(rle) for rle in photo.rle], axis=0)
        np.testing.assert_array_equal(
            union, np.any([decode(rle) for rle in photo_of("shoe", "cap").rle], axis=0)
        )
