"""Boxes without masks: what of them is covered, and what is outside."""

import json

import cv2
import numpy as np
import pytest

from pocketsam.errors import DataError, InputError
from pocketsam.evaluation.session import run
from pocketsam.robustness.studies.real_weather import RealWeather
from pocketsam.segmenter import Segmenter
from predictors import SIDE, EmptyEngine, PerfectEngine
from shards import blocks, paint


@pytest.fixture
def data(tmp_path):
    """Two photos in rain and fog, each with an object that fills half of its box."""
    photo = paint(blocks((8, 8, 24, 40), size=(SIDE, SIDE)))
    images, annotations = [], []
    for i, weather in enumerate(("rain", "fog"), 1):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photo)
        size = {"width": SIDE, "height": SIDE}
        images.append({"id": i, "file_name": f"{i}.png", "weather": weather, **size})
        box = {"bbox": [8, 8, 32, 32], "segmentation": [], "iscrowd": 0}
        annotations.append({"id": i, "image_id": i, "category_id": 1, **box})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return RealWeather.open_data([tmp_path / "instances.json"], None)


def perfect() -> Segmenter:
    return Segmenter(engine=PerfectEngine())


def test_the_mask_covers_half_of_the_box_and_nothing_else(data) -> None:
    study = RealWeather({"same": perfect, "empty": lambda: Segmenter(engine=EmptyEngine())})
    results = run(study, data, perfect)
    for result in results:
        scores = result.rows[0].scores
        assert scores["covered"] == pytest.approx(0.5, abs=0.05)
        assert (scores["outside"], scores["failed"], scores["same"], scores["empty"]) == (0, 0, 1, 0)
    report = study.summarise(results)
    assert [line[0] for line in report.tables[0].lines] == ["fog", "rain", "all"]
    assert report.numbers["all"]["boxes"] == 2
    assert np.isclose(report.numbers["fog"]["covered"], report.numbers["rain"]["covered"])


def test_an_empty_mask_has_failed(data) -> None:
    (result, _) = run(RealWeather(), data, lambda: Segmenter(engine=EmptyEngine()))
    assert result.rows[0].scores == {"covered": 0.0, "outside": 0.0, "failed": 1.0}


def test_a_sheet_shows_each_kind_of_weather(data) -> None:
    study = RealWeather()
    pictures = study.pictures(run(study, data, perfect), data, perfect)
    assert pictures["examples.jpg"].startswith(b"\xff\xd8")


def test_other_data_than_a_json_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="one COCO"):
        RealWeather.open_data([tmp_path / "a.tar"], None)


def test_a_box_that_is_none_is_one_line(tmp_path) -> None:
    image = {"id": 1, "file_name": "1.png", "width": SIDE, "height": SIDE}
    annotation = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [8, 8, 32]}
    document = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="annotation 7 has no bbox of four numbers"):
        RealWeather.open_data([tmp_path / "instances.json"], None)
