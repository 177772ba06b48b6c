"""Everything mode on many photos, with anything that opens photos; the command is tested in tests/cli."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pocketsam.automatic.batch import everything_in_photos
from pocketsam.automatic.proposals import Proposals
from pocketsam.errors import InputError
from pocketsam.predict.photo_files import find_photos, unique_names
from predictors import PerfectEngine


class Blank:
    """Opens any file as a photo of 4 × 6 pixels in which nothing is found."""

    engine = PerfectEngine()

    def open(self, source: Path) -> "Blank":
        return self

    def everything(self, **options: object) -> Proposals:
        return replace(Proposals.of([]), image=np.zeros((4, 6, 3), np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.jpg", "a.png", ".hidden.png", "a.overlay.png", "notes.txt"):
        (folder / name).touch()
    return folder


def test_anything_that_opens_photos_will_do_and_an_empty_photo_is_an_image_without_annotations(
    photos, tmp_path
):
    outcomes = everything_in_photos(Blank(), [photos], tmp_path / "all.json")
    assert [(outcome.photo.name, outcome.masks, outcome.error) for outcome in outcomes] == [
        ("a.png", 0, None),
        ("b.jpg", 0, None),
    ]
    document = json.loads((tmp_path / "all.json").read_text())
    assert document["images"] == [
        {"id": i, "file_name": name, "width": 6, "height": 4} for i, name in enumerate(("a.png", "b.jpg"), 1)
    ]
    assert document["annotations"] == []


def test_an_option_that_there_is_not_is_refused_before_a_photo_is_opened(photos, tmp_path):
    with pytest.raises(InputError, match="everything mode has no option 'points'"):
        everything_in_photos(Blank(), [photos], tmp_path / "all.json", points=3)
    assert not (tmp_path / "all.json.part").exists()


def test_photos_of_folders_come_in_order_without_what_is_hidden_or_was_written_here(photos):
    assert [path.name for path in find_photos([photos / "b.jpg", photos])] == ["b.jpg", "a.png"]
    empty = photos / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty: there are no photos in this folder"):
        find_photos([empty])


def test_results_of_photos_of_one_name_are_numbered():
    photos = [Path("x/a.jpg"), Path("y/A.png"), Path("a-2.jpg"), Path("b.jpg")]
    assert unique_names(photos) == ["a", "A-2", "a-2-2", "b"]
