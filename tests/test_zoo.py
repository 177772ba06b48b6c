from pathlib import Path

import pytest

from pocketsam.errors import ModelError
from pocketsam.zoo import locate


def test_the_model_inside_the_package_is_found_by_name():
    assert {file.name for file in locate("pocket").iterdir()} >= {"encoder.onnx", "decoder.onnx"}


def test_a_folder_is_its_own_model(tmp_path):
    assert locate(tmp_path) == locate(str(tmp_path)) == tmp_path


def test_a_slip_of_the_pen_gets_a_suggestion():
    with pytest.raises(ModelError, match="there is no model 'Poket'; did you mean 'pocket'"):
        locate("Poket")


def test_unknown_models_are_answered_with_the_known_ones():
    with pytest.raises(ModelError, match="one of: pocket"):
        locate(Path("no/such/folder"))
