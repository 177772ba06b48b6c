import json

import pytest

from pocketsam.description import Description
from pocketsam.engines import open_engine
from pocketsam.errors import ModelError


def test_a_description_survives_json():
    description = Description("m", 512, "squash", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "Apache-2.0")
    assert Description.from_json(description.to_json()) == description


def test_fields_of_later_versions_are_ignored():
    values = json.loads(Description("m").to_json()) | {"from the future": 1}
    assert Description.from_json(json.dumps(values)) == Description("m")


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "crop"},
        {"mean": [1, 2]},
        {"mean": 5},
        {"std": "abc"},
        {"click_masks": [4, 5, 6]},
        {"click_masks": []},
    ],
)
def test_what_is_no_description_is_refused(change):
    with pytest.raises(ValueError):
        Description.from_json(json.dumps(json.loads(Description("m").to_json()) | change))
    for text in ("", "[]", "{}"):
        with pytest.raises(ValueError):
            Description.from_json(text)


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no engine 'tpu'; use auto, onnx or torch"):
        open_engine(tmp_path, "tpu")
