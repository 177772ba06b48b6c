"""Every recipe that we ship can be read."""

import subprocess
import sys
from pathlib import Path

import pytest

from pocketsam.training.recipe import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_can_be_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train-000.tar", "unlabelled-000.tar", "val-000.tar"):
        (tmp_path / name).touch()
    monkeypatch.setenv("POCKETSAM_DATA", str(tmp_path))
    for name in ("CLASSES", "IMAGENET", "SA1B", "ANIMALS", "COCO", "ADE20K"):
        monkeypatch.setenv(f"POCKETSAM_{name}", str(tmp_path))
    monkeypatch.setenv("FORMER_POCKET", str(tmp_path / "former.safetensors"))
    monkeypatch.setenv("EFFICIENTNET_LITE2", str(tmp_path / "efficientnet-lite2.pth"))
    recipe = read_recipe(path)
    assert recipe.last_step <= recipe.steps
    launch = path.read_text().splitlines()[0]
    assert str(path.relative_to(path.parents[2])) in launch or "python benchmarks/" in launch


def test_recipes_are_read_without_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from pocketsam.training.recipe import parse_recipe;"
        "common = dict(model='pocket', out='x', train=['photos'], steps=1, batch=1);"
        "print(parse_recipe(common | dict(method='full-stage', teacher='sam_vit_b')).method)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "full-stage", done.stderr
