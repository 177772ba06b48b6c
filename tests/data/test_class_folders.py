"""ImageNet's layout, in folders and in tar files; what is wrong with it is named."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pocketsam.data.class_folders import ClassFolders
from pocketsam.errors import DataError
from shards import jpeg, write_tar


def grey(value: int) -> bytes:
    return jpeg(np.full((20, 30, 3), value, np.uint8))


FILES = [
    (f"train/{name}/{i}.jpg", grey(value)) for name, value in (("cat", 40), ("ant", 200)) for i in range(2)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "photos" / "train"


def test_folders_and_tar_files_are_the_same(folder: Path, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "photos.tar", FILES)
    of_folder, of_tar = ClassFolders([folder]), ClassFolders([tar / "train"])
    for data in (of_folder, of_tar):
        assert data.classes == ["ant", "cat"]
        assert data.labels == [0, 0, 1, 1]
        assert [data.read(i).name for i in range(4)] == ["ant/0", "ant/1", "cat/0", "cat/1"]
        assert [int(data.read(i).image.mean()) for i in range(4)] == [200, 200, 40, 40]


def test_imagenets_own_tar_files_name_their_class(tmp_path: Path) -> None:
    for name, value in (("n02", 40), ("n01", 200)):
        write_tar(tmp_path / f"{name}.tar", [(f"{name}_{i}.JPEG", grey(value)) for i in range(2)])
    data = ClassFolders([tmp_path])
    assert (data.classes, data.labels) == (["n01", "n02"], [0, 0, 1, 1])


def test_several_shards_are_one_set(tmp_path: Path) -> None:
    tars = [
        write_tar(tmp_path / f"{i}.tar", [(f"{name}/{i}.jpg", grey(9)) for name in "ab"]) for i in range(2)
    ]
    data = ClassFolders(tars)
    assert (data.classes, data.labels) == (["a", "b"], [0, 0, 1, 1])


def test_labels_count_by_the_classes_given(folder: Path) -> None:
    data = ClassFolders([folder], classes=["bee", "cat", "ant"])
    assert data.labels == [2, 2, 1, 1]


def test_what_is_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the class ant is not one of the 1 classes of the model"):
        ClassFolders([folder], classes=["cat"])
    (folder / "dog").mkdir()
    with pytest.raises(DataError, match=r"train: the class folder dog has no photo"):
        ClassFolders([folder])
    with pytest.raises(DataError, match=r"nowhere: no such file or folder"):
        ClassFolders([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"dog: has no class folders"):
        ClassFolders([folder / "dog"])
    tar = write_tar(tmp_path / "photos.tar", FILES)
    with pytest.raises(DataError, match=r"lies deeper than CLASS/NAME.jpg; give .*photos.tar/train"):
        ClassFolders([tar])
    with pytest.raises(DataError, match=r"photos.tar: no photo in val"):
        ClassFolders([tar / "val"])
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(DataError, match=r"text.tar: not a readable tar file"):
        ClassFolders([tmp_path / "text.tar"])


def test_an_empty_class_in_a_tar_file_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in (("cat/a.jpg", grey(9)), ("dog", None)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = (tarfile.REGTYPE, len(content)) if content else (tarfile.DIRTYPE, 0)
            tar.addfile(entry, io.BytesIO(content) if content else None)
    with pytest.raises(DataError, match="the class folder dog has no photo"):
        ClassFolders([tmp_path / "s.tar"])


def test_a_broken_photo_is_named(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "s.tar", [("cat/a.jpg", b"no photo")])
    with pytest.raises(DataError, match=r"s.tar: cat/a: its photo cannot be decoded"):
        ClassFolders([tar]).read(0)
