import json
import subprocess
import sys
import tarfile
from pathlib import Path
from threading import Semaphore

import numpy as np
import pytest
from PIL import Image

from commands import files, run
from pocketsam.automatic.batch import everything_in_photos
from pocketsam.engines.base import EngineInfo
from pocketsam.errors import InputError
from pocketsam.predict.formats import format_of
from pocketsam.predict.formats.reading import read_labels
from pocketsam.segmenter import Segmenter
from pocketsam.utils.rle import decode, encode
from predictors import SIDE, PerfectEngine
from shards import blocks, jpeg, paint, write_tar

BOXES = ((4, 6, 30, 28), (36, 8, 58, 56), (6, 36, 26, 58))
FEW = ("--points-per-side", "8")


def draw(folder: Path, **photos: int) -> Path:
    """A folder of photos NAME.png, each with the first so many of the BOXES; more than BOXES make it a broken one."""
    folder.mkdir(exist_ok=True)
    for name, objects in photos.items():
        image = jpeg(paint(blocks(*BOXES[:objects], size=(SIDE, SIDE))))
        (folder / f"{name}.jpg").write_bytes(image if objects <= len(BOXES) else image[:200])
    return folder


@pytest.fixture
def engine(monkeypatch, tmp_path) -> PerfectEngine:
    """The engine that the command opens; the test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    engine = PerfectEngine()
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: engine)
    return engine


@pytest.fixture
def pocketsam(monkeypatch, capsys, engine):
    """Runs `pocketsam everything …`; gives exit code, stdout, stderr."""
    return lambda *words: run(monkeypatch, capsys, "everything", *words)


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def interrupted(engine, monkeypatch, pocketsam, *words, after: int) -> str:
    """The command, ended by Ctrl-C when so many photos are done; what it says on the error stream."""
    prepare, prepared = engine.prepare, []

    def prepare_or_end(*args):
        prepared.append(args)
        if len(prepared) > after:
            raise KeyboardInterrupt
        return prepare(*args)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "prepare", prepare_or_end, raising=False)
        code, out, err = pocketsam(*words)
    assert (code, out) == (130, "")
    return err


def test_all_photos_in_one_file(pocketsam):
    draw(Path("photos"), a=2, b=0, c=3)
    code, out, err = pocketsam("photos", *FEW, "-o", "new/all.json")
    assert (code, out) == (0, "new/all.json: 5 masks in 3 photos\n")
    assert err == "pocketsam: photos/b.jpg: no masks found\n"
    assert files(Path("new")) == ["all.json"]
    found = read("new/all.json")
    assert found["images"] == [
        {"id": i, "file_name": f"{name}.jpg", "width": SIDE, "height": SIDE}
        for i, name in enumerate("abc", 1)
    ]
    annotations = found["annotations"]
    assert [one["id"] for one in annotations] == [1, 2, 3, 4, 5]
    assert [one["image_id"] for one in annotations] == [1, 1, 3, 3, 3]
    masks = blocks(*BOXES, size=(SIDE, SIDE))
    assert {one["segmentation"]["counts"] for one in annotations[2:]} == {encode(m)["counts"] for m in masks}
    x, y = map(int, annotations[0]["point"])
    assert decode(annotations[0]["segmentation"])[y, x]


def test_a_file_for_each_photo_in_a_folder(pocketsam):
    draw(Path("photos"), a=2, b=0)
    code, out, err = pocketsam("photos", *FEW, "-o", "masks", "--overlays")
    assert err == "pocketsam: photos/b.jpg: no masks found\n"
    assert (code, out) == (0, "masks: 2 masks in 2 photos\n")
    assert files(Path("masks")) == ["a.masks.json", "a.overlay.jpg", "b.masks.json", "b.overlay.jpg"]
    assert len(read("masks/a.masks.json")["annotations"]) == 2
    assert read("masks/b.masks.json")["images"] == [
        {"id": 1, "file_name": "b.jpg", "width": SIDE, "height": SIDE}
    ]
    drawn, photo = (np.asarray(Image.open(path), int) for path in ("masks/a.overlay.jpg", "photos/a.jpg"))
    difference = abs(drawn - photo).sum(axis=2)
    assert difference[12:22, 10:24].min() > 50 and difference[40:60, 6:26].max() < 50


def test_results_lie_in_the_working_directory_unless_told_otherwise(pocketsam):
    draw(Path("photos"), a=1)
    assert pocketsam("photos/a.jpg", *FEW)[:2] == (0, "a.masks.json: 1 mask in 1 photo\n")
    assert files() == ["a.masks.json", "photos/a.jpg"]


def test_a_lone_photo_in_which_nothing_is_found_is_said_to_be_empty(pocketsam):
    draw(Path("photos"), a=0)
    assert pocketsam("photos/a.jpg", *FEW) == (0, "a.masks.json: no masks found in 1 photo\n", "")
    found = read("a.masks.json")
    assert (len(found["images"]), found["annotations"]) == (1, [])


def test_overlays_lie_beside_the_one_file(pocketsam):
    draw(Path("photos"), a=1, b=1)
    assert pocketsam("photos", *FEW, "-o", "new/all.json", "--overlays")[0] == 0
    assert files(Path("new")) == ["a.overlay.jpg", "all.json", "b.overlay.jpg"]


def test_a_photo_given_twice_is_done_once_and_photos_of_one_name_are_told_apart(pocketsam):
    for folder in (Path("one"), Path("two")):
        draw(folder, a=1)
    draw(Path("two"), b=1)
    words = ("one/a.jpg", "two", "one", *FEW)
    assert pocketsam(*words, "-o", "all.json")[0] == 0
    assert [image["file_name"] for image in read("all.json")["images"]] == ["one/a.jpg", "two/a.jpg", "b.jpg"]
    assert pocketsam(*words, "-o", "each")[0] == 0
    assert files(Path("each")) == ["a-2.masks.json", "a.masks.json", "b.masks.json"]


def test_a_broken_photo_does_not_stop_the_others(pocketsam):
    draw(Path("photos"), a=1, b=99, c=2)
    for output, result in (("all.json", ["all.json"]), ("each", ["each/a.masks.json", "each/c.masks.json"])):
        code, out, err = pocketsam("photos", "nowhere.jpg", *FEW, "-o", output)
        assert (code, out) == (2, f"{output}: 3 masks in 2 photos\n")
        first, second, last = err.splitlines()
        assert first.startswith("pocketsam: photos/b.jpg: cannot be decoded (")
        assert second == "pocketsam: nowhere.jpg: there is no such file; check the path"
        assert last == "pocketsam: 2 of 4 photos are done; these failed: photos/b.jpg, nowhere.jpg"
        assert [file for file in files() if file.startswith(output)] == result
    assert [image["id"] for image in read("all.json")["images"]] == [1, 2]
    assert [one["image_id"] for one in read("all.json")["annotations"]] == [1, 2, 2]


@pytest.mark.parametrize("output", ["all.json", "each"])
def test_where_no_photo_can_be_read_nothing_is_left(pocketsam, output):
    draw(Path("photos"), a=99, b=99)
    code, out, err = pocketsam("photos", "-o", output)
    assert (code, out) == (2, "")
    assert err.endswith("pocketsam: 0 of 2 photos are done; these failed: photos/a.jpg, photos/b.jpg\n")
    assert files() == ["photos/a.jpg", "photos/b.jpg"]


@pytest.mark.parametrize(
    ("output", "journal"), [("all.json", "all.json.part"), ("each", "each/everything.part")]
)
def test_an_interrupted_run_goes_on(engine, monkeypatch, pocketsam, output, journal):
    words = (draw(Path("photos"), a=2, b=1, c=3, d=0), *FEW, "--overlays", "-o", output)
    pocketsam(*words)
    expected = {file: Path(file).read_bytes() for file in files()}
    for file in files():
        if not file.startswith("photos"):
            Path(file).unlink()

    interrupted(engine, monkeypatch, pocketsam, *words, after=2)
    assert Path(journal).exists() and not Path("all.json").exists()
    engine.encoded = 0
    code, out, err = pocketsam(*words)
    assert (code, err) == (0, "pocketsam: photos/d.jpg: no masks found\n")
    assert out == f"{output}: 6 masks in 4 photos, 2 of them done by an earlier run\n"
    assert engine.encoded == 2
    assert {file: Path(file).read_bytes() for file in files()} == expected


def test_ctrl_c_says_what_is_done_and_how_to_go_on(engine, monkeypatch, pocketsam):
    words = (draw(Path("photos"), a=2, b=1, c=3), *FEW, "-o", "all.json")
    said = interrupted(engine, monkeypatch, pocketsam, *words, after=0)
    assert said == "pocketsam: stopped; 0 of 3 photos are done; the same command resumes there\n"
    said = interrupted(engine, monkeypatch, pocketsam, *words, after=2)
    assert said == "pocketsam: stopped; 2 of 3 photos are done; the same command resumes there\n"


KILLED = """
import os
from pocketsam.automatic.batch import everything_in_photos
from pocketsam.segmenter import Segmenter
from predictors import PerfectEngine

class Killed(PerfectEngine):
    prepared = 0
    def prepare(self, *args):
        self.prepared += 1
        if self.prepared > 2:
            os._exit(9)
        return super().prepare(*args)

everything_in_photos(Segmenter(engine=Killed()), ["photos"], "all.json", points_per_side=8)
"""


def test_nothing_that_a_killed_process_had_done_is_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = draw(Path("photos"), a=2, b=1, c=3)
    tests = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {tests!r})\n{KILLED}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    engine = PerfectEngine()
    outcomes = everything_in_photos(Segmenter(engine=engine), [photos], "all.json", points_per_side=8)
    assert [(outcome.masks, outcome.resumed) for outcome in outcomes] == [(2, True), (1, True), (3, False)]
    assert engine.encoded == 1
    assert files() == ["all.json", "photos/a.jpg", "photos/b.jpg", "photos/c.jpg"]


def test_a_line_that_was_half_written_is_dropped(engine, monkeypatch, pocketsam):
    words = (draw(Path("photos"), a=2, b=1, c=3), *FEW, "-o", "all.json")
    interrupted(engine, monkeypatch, pocketsam, *words, after=2)
    journal = Path("all.json.part")
    journal.write_bytes(journal.read_bytes()[:-20])
    engine.encoded = 0
    assert pocketsam(*words)[1] == "all.json: 6 masks in 3 photos, 1 of them done by an earlier run\n"
    assert engine.encoded == 2
    assert len(read("all.json")["annotations"]) == 6


@pytest.mark.parametrize("output", ["all.json", "each"])
def test_a_photo_or_a_result_that_changed_is_done_again(engine, monkeypatch, pocketsam, output):
    photos = draw(Path("photos"), a=2, b=1, c=3)
    words = (photos, *FEW, "--overlays", "-o", output)
    interrupted(engine, monkeypatch, pocketsam, *words, after=2)
    draw(photos, a=3)
    next(Path().glob("**/b.overlay.jpg")).unlink()
    assert pocketsam(*words)[1] == f"{output}: 7 masks in 3 photos\n"


def test_photos_that_come_between_get_the_results_of_no_other(engine, monkeypatch, pocketsam):
    """Names depend on the list: what was a.masks.json is another photo's now."""
    draw(Path("two"), a=1, b=2)
    interrupted(engine, monkeypatch, pocketsam, "two", *FEW, "-o", "each", after=1)
    draw(Path("one"), a=3)
    assert pocketsam("one", "two", *FEW, "-o", "each")[1] == "each: 6 masks in 3 photos\n"
    counts = {file: len(read(f"each/{file}")["annotations"]) for file in files(Path("each"))}
    assert counts == {"a.masks.json": 3, "a-2.masks.json": 1, "b.masks.json": 2}


@pytest.mark.parametrize(
    "other", [("--points-per-side", "9"), (*FEW, "--no-hierarchical"), (*FEW, "--precision", "bfloat16")]
)
@pytest.mark.parametrize(
    ("output", "journal"), [("all.json", "all.json.part"), ("each", "each/everything.part")]
)
def test_results_of_other_settings_are_not_mixed(engine, monkeypatch, pocketsam, output, journal, other):
    draw(Path("photos"), a=2, b=1)
    interrupted(engine, monkeypatch, pocketsam, "photos", *FEW, "-o", output, after=1)
    before = Path(journal).read_bytes()
    code, out, err = pocketsam("photos", *other, "-o", output)
    assert (code, out) == (2, "")
    assert err == (
        f"pocketsam: {journal}: is of an unfinished run of other settings (1 done);"
        " delete it, or choose another place for the results\n"
    )
    assert Path(journal).read_bytes() == before
    Path(journal).unlink()
    assert pocketsam("photos", *other, "-o", output)[0] == 0


@pytest.mark.parametrize(
    "content", [b"{}\n", b"[]\n", b"half a download", b'{"journal": 1}\n{"photo": 3}\n{}\n']
)
def test_a_file_that_is_no_journal_is_left_alone(pocketsam, content):
    draw(Path("photos"), a=1)
    Path("all.json.part").write_bytes(content)
    code, _, err = pocketsam("photos", *FEW, "-o", "all.json")
    assert code == 2
    assert err.startswith("pocketsam: all.json.part: the results so far cannot be kept there (")
    assert err.endswith("); make room, or delete it and begin afresh\n") and err.count("\n") == 1
    assert Path("all.json.part").read_bytes() == content


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.jpg",), "missing.jpg: there is no such file; check the path"),
        (("text.jpg",), "text.jpg: is not an image that can be read"),
        (("nothing",), "nothing: there are no photos in this folder"),
        (("photos", "text.jpg", "-o", "x.png"), "x.png: is of one photo, but there are 2"),
        (("photos", "text.jpg", "-o", "x.labelme.json"), "x.labelme.json: is of one photo, but there are 2"),
        (("photos", "-o", "x.yolo.json"), "x.yolo.json: .yolo.json is not a format; use one of .json"),
        (("photos", "-o", "text.jpg/x.json"), "text.jpg: is no folder and cannot become one"),
        (("photos", "-o", "text.jpg/out"), "text.jpg/out: is no folder and cannot become one"),
        (("photos", "--pred-iou-thresh", "5"), "pred_iou_thresh is 5.0; give a number from 0 to 1"),
        (("photos", "--pred-iou-thresh", "nan"), "pred_iou_thresh is nan; give a number from 0 to 1"),
        (("photos", "--points-per-side", "0"), "points_per_side is 0; give a whole number from 1 to 1024"),
        (
            ("photos", "--min-mask-region-area", "-1"),
            "min_mask_region_area is -1.0; give a number, 0 or more",
        ),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(pocketsam, words, message):
    draw(Path("photos"), a=1)
    Path("text.jpg").write_text("not a photo")
    Path("nothing").mkdir()
    before = files()
    code, out, err = pocketsam(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"pocketsam: {message}")
    assert err.count("\n") == 1
    assert files() == before


def test_options_that_make_no_sense_are_said_once(engine):
    photos = [draw(Path("photos"), a=1, b=1)]
    with pytest.raises(InputError, match="points_per_side is 0; give a whole number from 1 to 1024"):
        everything_in_photos(Segmenter(engine=engine), photos, "all.json", points_per_side=0)
    assert not engine.encoded
    assert files() == ["photos/a.jpg", "photos/b.jpg"]


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(engine, monkeypatch, pocketsam):
    words = (draw(Path("photos"), a=2, b=1), *FEW, "-o", "all.json")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full_disk)
        code, _, err = pocketsam(*words)
    assert code == 2
    assert "all.json: cannot be written (No space left on device)" in err
    assert files() == ["all.json.part", "photos/a.jpg", "photos/b.jpg"]
    assert pocketsam(*words)[1] == "all.json: 3 masks in 2 photos, 2 of them done by an earlier run\n"


class Waiting(PerfectEngine):
    """Decodes nothing before the next of so many photos is encoded."""

    def __init__(self, photos: int):
        super().__init__()
        self.encodings = Semaphore(0)
        self.waiting = photos - 1

    def encode(self, image):
        embedding = super().encode(image)
        self.encodings.release()
        return embedding

    def prepare(self, *args):
        assert self.encodings.acquire(timeout=20)
        if self.waiting:
            assert self.encodings.acquire(timeout=20)
            self.encodings.release()
            self.waiting -= 1
        return super().prepare(*args)


def test_one_photo_is_encoded_while_the_one_before_is_decoded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    engine, encoded = Waiting(photos=4), []
    outcomes = everything_in_photos(
        Segmenter(engine=engine),
        [draw(Path("photos"), a=1, b=2, c=1, d=3)],
        "all.json",
        points_per_side=8,
        after_photo=lambda _: encoded.append(engine.encoded),
    )
    assert [outcome.masks for outcome in outcomes] == [1, 2, 1, 3]
    assert encoded == [2, 3, 4, 4]  # one ahead, never two: photos do not gather in memory


def test_the_model_in_the_package_finds_something(monkeypatch, capsys, tmp_path, samples):
    """With thresholds that any model passes, and a grid of one point on a shoe."""
    monkeypatch.chdir(tmp_path)
    words = ("--points-per-side", "2", "--pred-iou-thresh", "0", "--stability-score-thresh", "0.5")
    code, out, err = run(
        monkeypatch, capsys, "everything", samples / "sneakers.jpg", *words, "--engine", "onnx"
    )
    assert (code, err) == (0, "")
    (image,) = read("sneakers.masks.json")["images"]
    assert (image["width"], image["height"]) == (429, 400)
    annotations = read("sneakers.masks.json")["annotations"]
    assert out == f"sneakers.masks.json: {len(annotations)} masks in 1 photo\n"
    assert len(annotations) > 1
    for one in annotations:
        mask = decode(one["segmentation"])
        assert mask.shape == (400, 429) and mask.sum() == one["area"] > 0


@pytest.mark.parametrize("output", ["x.labelme.json", "x.cvat.xml", "x.voc.zip", "x.labels.png"])
def test_the_suffix_of_a_file_chooses_its_format(pocketsam, output):
    draw(Path("photos"), a=2)
    code, out, err = pocketsam("photos", *FEW, "-o", output)
    assert (code, err) == (0, "")
    assert out.startswith(f"{output}: ")
    assert format_of(output)[0].name in output and Path(output).stat().st_size
    assert not list(Path().glob("*.part"))


def test_photos_share_a_file_of_another_format(pocketsam):
    draw(Path("photos"), a=1, b=2)
    assert pocketsam("photos", *FEW, "-o", "all.json")[0] == 0
    assert pocketsam("photos", *FEW, "-o", "all.cvat.xml")[0] == 0
    coco, cvat = (list(read_labels(name)[0].photos) for name in ("all.json", "all.cvat.xml"))
    assert [(photo.file_name, photo.rle) for photo in coco] == [
        (photo.file_name, photo.rle) for photo in cvat
    ]
    assert [len(photo) for photo in cvat] == [1, 2]


def test_tar_shards_give_the_masks_that_their_photos_give_and_a_second_run_has_nothing_to_do(pocketsam):
    photos = draw(Path("photos"), a=3, b=1)
    members = [(photo.name, photo.read_bytes()) for photo in sorted(photos.iterdir())]
    shard = write_tar(Path("s.tar"), [*members, ("c.jpg", b"no photo")])
    assert pocketsam(photos, "-o", "all.json", *FEW)[0] == 0
    code, said, _ = pocketsam(shard, "-o", "out", *FEW)
    assert code == 0
    assert said == "out: 2 photos, 4 masks, 1 shard; 1 photo could not be used: manifest.jsonl says why\n"
    with tarfile.open("out/s.tar") as tar:
        of_shard = [json.load(tar.extractfile(f"{name}.json")) for name in "ab"]
    expected = [one["segmentation"] for one in read("all.json")["annotations"]]
    assert [one["segmentation"] for found in of_shard for one in found["annotations"]] == expected
    assert "1 of them done by an earlier run" in pocketsam(shard, "-o", "out", *FEW)[1]


def test_tar_shards_need_a_folder_for_their_results(pocketsam):
    shard = write_tar(Path("s.tar"), [])
    for words in ([shard], [shard, "-o", "all.json"]):
        code, _, error = pocketsam(*words)
        assert code == 2 and "give a folder or URL" in error
    assert "--overlays is for photos" in pocketsam(shard, "-o", "out", "--overlays")[2]


def test_a_photo_is_not_replaced_by_its_masks(pocketsam, engine):
    draw(Path(), a=2)
    before = Path("a.jpg").read_bytes()
    code, _, err = pocketsam("a.jpg", *FEW, "-o", "a.jpg")
    assert (code, err) == (2, "pocketsam: a.jpg: is also what is read; choose another name for the result\n")
    assert Path("a.jpg").read_bytes() == before


def test_a_run_does_not_go_on_in_another_precision(pocketsam, engine, monkeypatch):
    photos = draw(Path("photos"), a=2, b=1, c=3)
    interrupted(engine, monkeypatch, pocketsam, photos, *FEW, "-o", "all.json", after=2)
    other = PerfectEngine()
    other.info = EngineInfo("test", numerics="bfloat16")
    with pytest.raises(InputError, match="other settings"):
        everything_in_photos(Segmenter(engine=other), [photos], "all.json", points_per_side=8)
