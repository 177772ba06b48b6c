import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import files, run
from pocketsam.predict.formats.reading import read_labels


@pytest.fixture
def pocketsam(monkeypatch, capsys, tmp_path, engine):
    """Runs `pocketsam segment …` in an empty folder on the fake engine; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: engine)
    return lambda *words: run(monkeypatch, capsys, "segment", *words)


def annotations(path: str) -> list[dict]:
    return json.loads(Path(path).read_text())["annotations"]


def test_results_lie_in_the_working_directory_unless_told_otherwise(pocketsam, samples):
    code, out, err = pocketsam(samples / "cap.jpg", "--point", "200,150")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{samples / 'cap.jpg'}: 1 mask, predicted IoU 0.90",
        "  cap.overlay.jpg",
        "  cap.masks.json",
    ]
    assert files() == ["cap.masks.json", "cap.overlay.jpg"]
    assert len(annotations("cap.masks.json")) == 1


def test_an_output_file_gets_just_what_its_ending_says(pocketsam, samples):
    code, out, _ = pocketsam(samples / "cap.jpg", "--point", "200,150", "-o", "new/cap.labels.png")
    assert code == 0
    assert files() == ["new/cap.labels.png"]
    assert "new/cap.labels.png" in out


def test_an_output_folder_gets_both_files(pocketsam, samples):
    pocketsam(samples / "cap.jpg", "--point", "200,150", "-o", "results")
    assert files() == ["results/cap.masks.json", "results/cap.overlay.jpg"]


def test_points_are_clicks_on_one_object(pocketsam, samples, engine):
    pocketsam(samples / "cap.jpg", "--point", "200,100", "--point", "100.5,300", "--negative", "0,0")
    assert engine.decoded[0]["labels"].tolist() == [[1, 1, 0, -1]]
    scale = 64 / 534
    np.testing.assert_allclose(engine.decoded[0]["points"][0, 1], [100.5 * 48 / 400, 300 * scale], rtol=1e-3)


def test_nothing_that_is_read_is_replaced(pocketsam, samples):
    prompts = [{"photo": "cap.jpg", "points": [[200, 150]]}]
    Path("cap.jpg").write_bytes((samples / "cap.jpg").read_bytes())
    Path("prompts.json").write_text(json.dumps(prompts))
    Image.new("L", (400, 534), 255).save("mask.png")
    before = {name: Path(name).read_bytes() for name in files()}
    for words, output in (
        (("--prompts", "prompts.json"), "prompts.json"),
        (("cap.jpg", "--mask", "mask.png"), "mask.png"),
        (("cap.jpg", "--point", "200,150"), "cap.jpg"),
    ):
        code, _, err = pocketsam(*words, "-o", output)
        assert (code, err) == (
            2,
            f"pocketsam: {output}: is also what is read; choose another name for the result\n",
        )
    assert {name: Path(name).read_bytes() for name in files()} == before


def test_names_that_would_collide_are_refused_before_the_work(pocketsam, samples, engine):
    Path("photos").mkdir()
    for suffix in ("png", "bmp"):
        Image.new("RGB", (64, 64)).save(f"photos/x.{suffix}")
    code, _, err = pocketsam("photos", "--same-prompts", "--point", "20,20", "-o", "out.yolo.zip")
    assert code == 2 and "would have the same name; rename one of the photos" in err
    assert not engine.encoded


def test_photos_of_one_name_are_called_by_their_paths_in_the_common_folder(pocketsam, tmp_path):
    for folder in ("d/a", "d/b"):
        Path(folder).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(f"{folder}/x.png")
    folders = (tmp_path / "d" / "a", tmp_path / "d" / "b")
    assert pocketsam(*folders, "--same-prompts", "--point", "20,20", "-o", "all.json")[0] == 0
    document = json.loads(Path("all.json").read_text())
    assert [one["file_name"] for one in document["images"]] == ["a/x.png", "b/x.png"]
    assert read_labels(Path("all.json"))[0].count == 2


def test_a_name_that_is_not_utf_8_does_not_stop_the_others(tmp_path, samples):
    photos = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9.jpg", b"d.jpg")]
    for photo in photos:
        photo.write_bytes((samples / "cap.jpg").read_bytes())
    words = [sys.executable, "-m", "pocketsam", "segment", *photos, "--same-prompts", "--point", "200,150"]
    done = subprocess.run([*words, "-o", tmp_path / "all.json"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\xe9.jpg: 1 mask" in done.stdout
    document = json.loads((tmp_path / "all.json").read_text())
    assert [one["file_name"] for one in document["images"]] == ["caf\ufffd.jpg", "d.jpg"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_photo_that_may_not_be_read_does_not_stop_the_others(pocketsam, samples):
    for name in ("a.jpg", "b.jpg"):
        Path(name).write_bytes((samples / "cap.jpg").read_bytes())
    Path("a.jpg").chmod(0)
    code, _, err = pocketsam("a.jpg", "b.jpg", "--same-prompts", "--point", "200,150")
    assert code == 2 and err.count("\n") <= 2 and "Usage" not in err
    assert Path("b.masks.json").exists()


def test_each_box_is_an_object(pocketsam, samples, engine):
    code, out, _ = pocketsam(samples / "cap.jpg", "--box", "0,0,90,90", "--box", "50,60,200,300")
    assert code == 0
    assert "2 masks, predicted IoU 0.50" in out
    assert engine.decoded[0]["labels"].tolist() == [[2, 3], [2, 3]]


def test_points_can_go_with_one_box_but_not_with_two(pocketsam, samples, engine):
    assert pocketsam(samples / "cap.jpg", "--box", "0,0,90,90", "--negative", "5,5")[0] == 0
    assert engine.decoded[0]["labels"].tolist() == [[0, 2, 3]]
    code, _, err = pocketsam(samples / "cap.jpg", "--box", "0,0,90,90", "--box", "5,5,9,9", "--point", "5,5")
    assert code == 2
    assert (
        err == "pocketsam: points belong to one object; give one box at most with them, or leave them out\n"
    )


def test_points_of_one_name_are_clicks_on_one_object(pocketsam, samples, engine):
    words = [
        "--point",
        "shoe:1=200,100",
        "--point",
        "shoe:2=90,90",
        "--negative",
        "shoe:1=9,9",
        "--box",
        "cap=5,5,80,80",
    ]
    code, out, err = pocketsam(samples / "cap.jpg", *words, "-o", "cap.json")
    assert (code, err) == (0, "")
    assert "3 masks" in out
    assert [call["labels"].tolist() for call in engine.decoded] == [[[1, 0, -1]], [[1, -1]], [[2, 3]]]
    document = json.loads(Path("cap.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert [names[one["category_id"]] for one in document["annotations"]] == ["shoe", "shoe", "cap"]
    assert [one["object"] for one in document["annotations"]] == [0, 1, 2]


def test_a_box_beyond_the_photo_is_cut_and_that_is_said(pocketsam, samples):
    code, _, err = pocketsam(samples / "cap.jpg", "--box", "100,100,999,400")
    assert code == 0
    assert err == (
        f"pocketsam: {samples / 'cap.jpg'}: the box (100, 100, 999, 400) reaches beyond the photo;"
        " (100, 100, 400, 400) was used\n"
    )


EMPTY = ("--box", "100,100,101,101")  # no middle of a cell of the fake engine's logits lies in it


def test_when_nothing_is_found_that_is_said_and_nothing_is_written(pocketsam, samples):
    code, out, err = pocketsam(samples / "cap.jpg", *EMPTY)
    assert (code, out, files()) == (2, "", [])
    assert err == f"pocketsam: {samples / 'cap.jpg'}: no object found for the box (100, 100, 101, 101)\n"


def test_objects_that_are_found_are_written_beside_those_that_are_not(pocketsam, samples):
    code, out, err = pocketsam(samples / "cap.jpg", *EMPTY, "--box", "cap=20,20,300,300", "-o", "cap.json")
    assert code == 0
    assert "2 masks" in out
    assert err.endswith("no object found for the box (100, 100, 101, 101)\n")
    assert [one["empty"] for one in annotations("cap.json")] == [True, False]


def test_refined_outlines_are_written_on_demand(pocketsam, samples):
    for name, *more in (("plain.json",), ("refined.json", "--refine")):
        assert pocketsam(samples / "cap.jpg", "--box", "40,60,360,400", *more, "-o", name)[0] == 0
    plain, refined = (annotations(name)[0] for name in ("plain.json", "refined.json"))
    assert plain["segmentation"] != refined["segmentation"]
    assert plain["predicted_iou"] == refined["predicted_iou"]


def test_small_objects_are_looked_at_twice_on_demand(pocketsam, samples):
    for name, *more in (("plain.json",), ("zoomed.json", "--zoom")):
        assert pocketsam(samples / "cap.jpg", "--box", "200,200,260,240", *more, "-o", name)[0] == 0
    plain, zoomed = (annotations(name)[0] for name in ("plain.json", "zoomed.json"))
    assert plain["segmentation"] != zoomed["segmentation"]
    code, _, err = pocketsam(
        samples / "cap.jpg", "--point", "220,220", "--zoom", "--multimask", "-o", "x.json"
    )
    assert code == 2 and "--zoom gives one mask for each object, --multimask three" in err


@pytest.fixture
def two_photos():
    Path("photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(f"photos/{name}.png")


def test_a_file_gives_each_photo_its_own_prompts(pocketsam, two_photos, engine):
    Path("photos/prompts.csv").write_text(
        "photo,points,labels,boxes,name\n"
        'b.png,"20,20 30,30",1 0,,shoe\n'
        'b.png,,,"10,10,40,30 5,5,20,20",cap\n'
        'a.png,"30,20",,,\n'
    )
    code, out, err = pocketsam("--prompts", "photos/prompts.csv", "-o", "out")
    assert (code, err) == (0, "")
    assert out.count("3 masks") == out.count("1 mask,") == 1
    assert files(Path("out")) == ["a.masks.json", "a.overlay.jpg", "b.masks.json", "b.overlay.jpg"]
    assert [one["object"] for one in annotations("out/b.masks.json")] == [0, 1, 2]
    assert [call["labels"].tolist() for call in engine.decoded] == [[[1, 0, -1]], [[2, 3]] * 2, [[1, -1]]]


def test_the_photos_of_a_prompts_file_may_lie_in_another_folder(pocketsam, two_photos):
    Path("prompts.json").write_text(json.dumps([{"photo": "a.png", "points": [[20, 20]], "name": "shoe"}]))
    assert pocketsam("photos", "--prompts", "prompts.json", "-o", "a.labelme.json")[0] == 0
    (shape,) = json.loads(Path("a.labelme.json").read_text())["shapes"]
    assert shape["label"] == "shoe"


def test_a_prompts_file_with_one_missing_photo_finishes_the_others(pocketsam, two_photos):
    Path("photos/p.csv").write_text('photo,points\nc.png,"20,20"\na.png,"20,20"\n')
    code, out, err = pocketsam("--prompts", "photos/p.csv", "-o", "out")
    assert code == 2
    assert "out/a.masks.json" in out
    assert err.splitlines()[0] == "pocketsam: photos/c.png: there is no such file; check the path"


@pytest.mark.parametrize(
    "name",
    ["all.json", "all.polygons.json", "all.cvat.xml", "all.labelstudio.json", "all.yolo.zip", "all.voc.zip"],
)
def test_masks_of_many_photos_go_into_one_file(pocketsam, two_photos, name):
    Path("photos/p.csv").write_text(
        'photo,boxes,name\nb.png,"5,5,20,20",cap\nb.png,"30,10,50,30",shoe\na.png,"5,5,20,20",\n'
    )
    code, out, err = pocketsam("--prompts", "photos/p.csv", "-o", name)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"{name}: 3 masks in 2 photos"
    assert files() == sorted([name, "photos/a.png", "photos/b.png", "photos/p.csv"])
    labels, _ = read_labels(name, photos="photos")
    assert {photo.file_name[0]: tuple(sorted(photo.names)) for photo in labels.photos} == {
        "b": ("cap", "shoe"),
        "a": ("object",),
    }


def test_one_file_has_photos_without_masks_and_leaves_out_those_that_fail(pocketsam, two_photos, engine):
    engine.reach = (0, 0, 0, 0)
    code, _, err = pocketsam(
        "photos/a.png", "photos/b.png", "missing.png", "--point", "20,20", "--same-prompts", "-o", "all.json"
    )
    assert code == 2
    assert "missing.png: there is no such file" in err
    document = json.loads(Path("all.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.png"]
    assert document["annotations"] == []


def test_photos_of_one_name_are_told_apart_in_one_file(pocketsam, two_photos):
    Path("more").mkdir()
    Image.new("RGB", (60, 40)).save("more/a.png")
    assert (
        pocketsam("photos/a.png", "more/a.png", "--point", "20,20", "--same-prompts", "-o", "all.json")[0]
        == 0
    )
    images = json.loads(Path("all.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["photos/a.png", "more/a.png"]


def test_all_masks_are_written_on_demand(pocketsam, samples):
    pocketsam(samples / "cap.jpg", "--point", "200,150", "--multimask", "-o", "cap.json")
    assert [a["predicted_iou"] for a in annotations("cap.json")] == [0.9, 0.8, 0.7]


def test_a_mask_can_be_fed_back_as_logits_or_as_an_image(pocketsam, samples, engine):
    pocketsam(samples / "cap.jpg", "--box", "100,100,300,400", "-o", "cap.npy")
    pocketsam(samples / "cap.jpg", "--box", "100,100,300,400", "-o", "cap.labels.png")
    for mask in ("cap.npy", "cap.labels.png"):
        assert (
            pocketsam(samples / "cap.jpg", "--point", "200,200", "--mask", mask, "-o", "again.json")[0] == 0
        )
    first, second = (decoded["mask_input"] > 0 for decoded in engine.decoded[2:])
    assert (first == second).mean() > 0.95
    assert first.any()


def test_a_folder_with_one_broken_photo_finishes_the_others(pocketsam, samples):
    folder = Path("photos")
    folder.mkdir()
    for name in ("a", "c"):
        Image.new("RGB", (60, 40)).save(folder / f"{name}.png")
    (folder / "b.jpg").write_bytes((samples / "cap.jpg").read_bytes()[:5000])
    (folder / "notes.txt").write_text("no photo, and not taken for one")
    code, out, err = pocketsam(folder, "--point", "20,20", "--same-prompts", "-o", "results")
    assert code == 2
    assert files(Path("results")) == ["a.masks.json", "a.overlay.jpg", "c.masks.json", "c.overlay.jpg"]
    assert "results/a.masks.json" in out and "results/c.overlay.jpg" in out
    first, last = err.splitlines()
    assert first.startswith("pocketsam: photos/b.jpg: cannot be decoded (image file is truncated")
    assert last == "pocketsam: 2 of 3 photos are done; these failed: photos/b.jpg"


def test_a_second_run_does_not_take_overlays_for_photos(pocketsam):
    Image.new("RGB", (60, 40)).save("a.png")
    for _ in range(2):
        code, out, _ = pocketsam(".", "--point", "20,20")
        assert code == 0
        assert out.count("1 mask") == 1


def test_photos_of_the_same_name_do_not_overwrite_each_other(pocketsam):
    for name in ("a.png", "a.bmp", "A.webp"):
        Image.new("RGB", (60, 40)).save(name)
    assert pocketsam("a.png", "a.bmp", "A.webp", *GOOD, "--same-prompts", "-o", "out")[0] == 0
    assert [name for name in files(Path("out")) if name.endswith(".json")] == [
        "A-3.masks.json",
        "a-2.masks.json",
        "a.masks.json",
    ]


@pytest.mark.parametrize(
    ("size", "prompt"), [((1, 1), ("--box", "0,0,1,1")), ((4000, 3), ("--point", "2000,1"))]
)
def test_extreme_photos_work(pocketsam, size, prompt):
    Image.new("RGB", size).save("odd.png")
    assert pocketsam("odd.png", *prompt)[0] == 0
    assert files() == ["odd.masks.json", "odd.overlay.jpg", "odd.png"]


GOOD = ("--point", "20,20")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.jpg", *GOOD), "missing.jpg: there is no such file; check the path"),
        (("empty.jpg", *GOOD), "empty.jpg: is empty, 0 bytes; give an image"),
        (("text.jpg", *GOOD), "text.jpg: is not an image that can be read"),
        (("truncated.jpg", *GOOD), "truncated.jpg: cannot be decoded (image file is truncated"),
        (("nothing", *GOOD), "nothing: there are no photos in this folder"),
        (
            ("photo.png",),
            "there is no prompt; give --point X,Y, --box X0,Y0,X1,Y1, --mask FILE or --prompts FILE",
        ),
        (
            ("photo.png", "--point", "60,20"),
            "photo.png: the point (60, 20) lies outside the photo of 60 × 40 pixels",
        ),
        (("photo.png", "--point", "-1,20"), "photo.png: the point (-1, 20) lies outside the photo"),
        (("photo.png", "--point", "nan,20"), "photo.png: points must be finite numbers, not NaN or infinite"),
        (("photo.png", "--box", "5,5,nan,9"), "photo.png: boxes must be finite numbers"),
        (("photo.png", "--box", "5,5,5,9"), "photo.png: the box (5, 5, 5, 9) has no area"),
        (
            ("photo.png", "--point", "20"),
            "--point 20: give 2 numbers with commas between them, such as 120,300",
        ),
        (GOOD, "there is no photo; give one, or a folder of photos"),
        (
            ("https://example.org/a.jpg", *GOOD),
            "https://example.org/a.jpg: is an address, which is not fetched",
        ),
        (
            ("photo.png", *GOOD, "-o", "x.cutout.jpg"),
            "x.cutout.jpg: .cutout.jpg is not a format; use one of .json",
        ),
        (
            ("photo.png", "--point", "0.3,0.4"),
            "--point (0.3, 0.4) looks like fractions of the photo; coordinates are pixels, such as (120, 300)",
        ),
        (
            ("photo.png", "--box", "0.1,0.2,0.9,1"),
            "--box (0.1, 0.2, 0.9, 1) looks like fractions of the photo",
        ),
        (
            ("photo.png", "small.png", *GOOD),
            "there are 2 photos, but --point, --box and --mask are of one; give --prompts FILE",
        ),
        (("photo.png", *GOOD, "--prompts", "p.csv"), "--prompts holds all prompts; leave out --point"),
        (("photo.png", "--prompts", "p.csv"), "photo.png: with --prompts, give the one folder"),
        (("--prompts", "p.csv"), "p.csv: there is no such file"),
        (("--prompts", "text.jpg"), "text.jpg: prompts are read from .csv and .json"),
        (("photo.png", "--box", "a,b,c,d"), "--box a,b,c,d: give 4 numbers"),
        (("photo.png", "--mask", "nowhere.npy"), "photo.png: nowhere.npy: cannot be read as .npy"),
        (("photo.png", "--mask", "text.jpg"), "photo.png: text.jpg: is not an image"),
        (
            ("photo.png", "--mask", "small.png"),
            "photo.png: the mask is 5 × 5 pixels, but the photo is 60 × 40",
        ),
        (("photo.png", *GOOD, "-o", "x.doc"), "x.doc: the suffix says what to write"),
        (("photo.png", *GOOD, "-o", "text.jpg/x.json"), "text.jpg: cannot be written to"),
        (("photo.png", *GOOD, "-o", "text.jpg/out"), "text.jpg/out: is no folder and cannot become one"),
        (("photo.png", *GOOD, "-o", "photo.png"), "photo.png: is also what is read; choose another name"),
        (
            ("photo.png", "small.png", *GOOD, "--same-prompts", "-o", "text.jpg"),
            "text.jpg: is one file, but there are 2 photos",
        ),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(pocketsam, samples, words, message):
    Image.new("RGB", (60, 40)).save("photo.png")
    Image.new("L", (5, 5), 255).save("small.png")
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("not a photo")
    Path("truncated.jpg").write_bytes((samples / "cap.jpg").read_bytes()[:5000])
    Path("nothing").mkdir()
    before = files()
    code, out, err = pocketsam(*words)
    assert code == 2
    assert out == ""
    assert err.startswith(f"pocketsam: {message}")
    assert err.count("\n") == 1
    assert files() == before


def test_a_decompression_bomb_is_refused(pocketsam):
    Image.new("1", (13_400, 13_400)).save("bomb.png")
    code, _, err = pocketsam("bomb.png", *GOOD)
    assert code == 2
    assert err == "pocketsam: bomb.png: has more than 178 million pixels; make it smaller first\n"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("pockt", "there is no model 'pockt'; did you mean 'pocket'?"),
        ("empty", "empty/encoder.onnx: is missing"),
        ("broken", "broken/encoder.onnx: is damaged or not an ONNX model"),
    ],
)
def test_models_that_cannot_be_used(monkeypatch, capsys, tmp_path, model, message, samples):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/encoder.onnx").write_bytes(b"\x08\x08\x12")
    code, _, err = run(monkeypatch, capsys, "segment", samples / "cap.jpg", *GOOD, "--model", model)
    assert code == 2
    assert err.startswith(f"pocketsam: {message}")
    assert err.count("\n") == 1


def test_ctrl_c_ends_with_130(pocketsam, samples, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pocketsam.segmenter.load_image", interrupt)
    assert pocketsam(samples / "cap.jpg", *GOOD)[0] == 130


def test_wrong_options_end_with_2(pocketsam, samples):
    assert pocketsam(samples / "cap.jpg", "--pint", "5,5")[0] == 2
    assert pocketsam()[0] == 2


def python(code: str, *words: str, cwd: Path) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=cwd
    ).stdout


def test_help_imports_nothing_heavy(tmp_path):
    code = "import sys; from pocketsam.cli.app import app; app(standalone_mode=False); print([*sys.modules])"
    out = python(code, "--help", cwd=tmp_path)
    assert all(command in out for command in ("segment", "evaluate", "train"))
    assert not [
        name for name in ("numpy", "cv2", "PIL", "onnxruntime", "torch", "rich") if f"'{name}'" in out
    ]


def test_the_model_in_the_package_needs_no_torch(tmp_path, samples):
    code = (
        "import sys; from pocketsam.cli.app import app; app(standalone_mode=False);"
        "print([name for name in ('torch', 'rich', 'matplotlib', 'onnx') if name in sys.modules])"
    )
    out = python(code, "segment", str(samples / "sneakers.jpg"), "--box", "20,130,342,371", cwd=tmp_path)
    assert out.splitlines()[-1] == "[]"
    assert files(tmp_path) == ["sneakers.masks.json", "sneakers.overlay.jpg"]
    with Image.open(tmp_path / "sneakers.overlay.jpg") as overlay:
        assert overlay.size == (429, 400)


@pytest.mark.parametrize(
    ("words", "one_image"),
    [
        (["a.jpg", "--point", "200,150"], True),
        (["--prompts", "prompts.csv"], True),
        (["photos", "--same-prompts", "--point", "200,150"], False),
        (["a.jpg", "b.jpg", "--same-prompts", "--point", "200,150"], False),
    ],
)
def test_the_time_that_loading_takes_counts_for_one_photo_alone(
    monkeypatch, capsys, tmp_path, samples, engine, words, one_image
):
    monkeypatch.chdir(tmp_path)
    told = []
    monkeypatch.setattr(
        "pocketsam.engines.open_engine", lambda *_, **how: (told.append(how["one_image"]), engine)[1]
    )
    for path in ("a.jpg", "b.jpg", "photos/a.jpg", "photos/b.jpg"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes((samples / "cap.jpg").read_bytes())
    Path("prompts.csv").write_text("photo,points\na.jpg,200 150\n")
    assert run(monkeypatch, capsys, "segment", *words, "-o", "out")[0] == 0
    assert told == [one_image]


@pytest.mark.parametrize("running", [["--model", "mine"], ["--engine", "openvino"]])
def test_a_model_that_takes_long_is_opened_after_the_prompts_are_read(monkeypatch, capsys, samples, running):
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: pytest.fail("it is opened"))
    monkeypatch.setattr("pocketsam.zoo.locate", lambda _: (Path("mine"), None))
    code, _, err = run(monkeypatch, capsys, "segment", samples / "cap.jpg", *running)
    assert code == 2 and "there is no prompt" in err
