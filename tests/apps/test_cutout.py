"""Cut-outs, with a head that is right about drawn photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketsam.apps.cutout import cut_out, cut_out_instances, cut_out_photos
from pocketsam.apps.saliency import salient_instances, salient_regions
from pocketsam.errors import InputError
from pocketsam.segmenter import Segmenter
from predictors import SIDE, PerfectEngine
from shards import blocks, paint

TWO = ((4, 6, 30, 28), (36, 8, 58, 56))


def head(photo):
    """All that is not black is salient; logits of SIDE × SIDE cells."""
    return np.where(photo.image.any(axis=2), 6, -6).astype(np.float32)


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter(engine=PerfectEngine())


def painted(*boxes) -> np.ndarray:
    return paint(blocks(*boxes, size=(SIDE, SIDE)))


def test_the_salient_object_stays_and_the_rest_is_transparent(segmenter) -> None:
    image = painted(TWO[0]) + np.uint8(1)
    cut = cut_out(
        segmenter.open(image), lambda photo: np.where(photo.image.max(axis=2) > 1, 6, -6).astype(np.float32)
    )
    inside = blocks(TWO[0], size=(SIDE, SIDE))[0]
    assert cut.shape == (SIDE, SIDE, 4)
    visible = cut[..., 3] > 0
    assert np.array_equal(cut[visible, :3], image[visible])
    assert not cut[~visible].any()  # hidden colours would show what was cut away
    assert np.array_equal(cut[..., 3] > 127, inside)
    assert (cut[12:20, 12:22, 3] == 255).all() and (cut[40:, 40:, 3] == 0).all()


def test_edges_are_soft(segmenter) -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, 20:] = 60

    def unsure(photo):
        return np.tile(np.linspace(-2, 4, SIDE, dtype=np.float32), (SIDE, 1))

    alpha = cut_out(segmenter.open(image), unsure)[32, :, 3]
    assert ((alpha > 0) & (alpha < 255)).any()
    assert alpha[-1] == 255 and alpha[0] == 0
    assert set(np.unique(alpha[:10])) == {0}  # unsure, but far from the outline


def test_small_islands_are_left_out(segmenter) -> None:
    image = painted(TWO[1], (4, 4, 8, 8))
    assert not cut_out(segmenter.open(image), head)[:10, :10, 3].any()


def test_nothing_salient_is_one_line(segmenter) -> None:
    with pytest.raises(InputError, match="no salient object found; prompt it by a click or a box"):
        cut_out(segmenter.open(painted()), head)


def test_each_salient_region_is_prompted_by_its_box_or_three_points_in_it(segmenter) -> None:
    photo = segmenter.open(painted(*TWO))
    regions = salient_regions(photo, head(photo))
    assert [region.sum() for region in regions] == [22 * 48, 26 * 22]
    for by in ("boxes", "points"):
        masks = salient_instances(photo, head(photo), by)
        assert np.array_equal(masks.binary, np.array(regions))
    for region, prompt in zip(regions, segmenter.engine.decoded[-1], strict=True):
        points = (prompt[:3] / 4).astype(int)
        assert region[points[:, 1], points[:, 0]].all()
    with pytest.raises(InputError, match="no salient object"):
        salient_instances(photo, np.full((SIDE, SIDE), -1, np.float32))


def test_photos_become_files_and_a_bad_one_does_not_stop_the_others(segmenter, tmp_path: Path) -> None:
    for name, boxes in {"a.b": TWO, "empty": ()}.items():
        Image.fromarray(painted(*boxes)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    photos = [tmp_path / name for name in ("a.b.png", "empty.png", "broken.png")]
    outcomes = list(cut_out_photos(segmenter, head, photos, tmp_path / "out"))
    assert [outcome.masks for outcome in outcomes] == [1, 0, 0]
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, True]
    assert outcomes[0].files == (tmp_path / "out" / "a.b.cutout.png",)
    assert Image.open(outcomes[0].files[0]).mode == "RGBA"
    (several,) = cut_out_photos(segmenter, head, photos[:1], tmp_path / "out", instances=True)
    assert [file.name for file in several.files] == ["a.b.0.cutout.png", "a.b.1.cutout.png"]


def test_a_place_that_cannot_hold_the_result_is_refused(segmenter, tmp_path: Path) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    for photo in photos:
        Image.fromarray(painted(TWO[0])).save(photo)
    for given, output, line in (
        (photos, tmp_path / "one.png", "is one file, but there are 2 photos"),
        (photos[:1], tmp_path / "one.jpg", "needs transparency"),
        (photos[:1], photos[0], "is also what is read"),
    ):
        with pytest.raises(InputError, match=line):
            list(cut_out_photos(segmenter, head, given, output))


def test_instances_end_at_their_boxes(segmenter, monkeypatch) -> None:
    photo = segmenter.open(painted(*TWO))
    masks = salient_instances(photo, head(photo))
    everywhere = masks._with(logits=np.full_like(masks.logits, 6), box_margin=0.02)
    monkeypatch.setattr("pocketsam.apps.cutout.salient_instances", lambda photo, logits: everywhere)
    for cut, (x0, y0, x1, y1) in zip(cut_out_instances(photo, head), reversed(TWO), strict=True):
        rows, columns = np.nonzero(cut[..., 3])
        assert x0 - 1 <= columns.min() <= columns.max() <= x1
        assert y0 - 1 <= rows.min() <= rows.max() <= y1


def test_instances_without_pixels_are_one_line(segmenter, monkeypatch) -> None:
    photo = segmenter.open(painted(*TWO))
    masks = salient_instances(photo, head(photo))
    nothing = masks._with(logits=np.full_like(masks.logits, -6))
    monkeypatch.setattr("pocketsam.apps.cutout.salient_instances", lambda photo, logits: nothing)
    with pytest.raises(InputError, match="no salient object found"):
        cut_out_instances(photo, head)
