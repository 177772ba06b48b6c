"""A new engine, architecture, file format, protocol, training method or export target is one file and one line.

Each is added to a copy of the package, and used from the command line.
"""

import json
import shutil
from pathlib import Path

import pytest

import pocketsam
from processes import start
from shards import blocks, write_shard

PACKAGE = Path(pocketsam.__file__).parent

ENGINE = """
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.source import onnx_folder

def load(source, options):
    print("opened by the new engine")
    return OnnxEngine(onnx_folder(source, options.config), options.threads)
"""

ENCODER = """
from torch import nn
from torch.nn.functional import avg_pool2d

from pocketsam.models.encoders.base import ImageEncoder
from pocketsam.models.layers import LayerNorm2d

class MeanColour(ImageEncoder):
    def __init__(self):
        super().__init__()
        self.colour = nn.Conv2d(3, 256, 1)
        self.neck = LayerNorm2d(256)

    @classmethod
    def matches(cls, shapes):
        return "colour.weight" in shapes

    @classmethod
    def like(cls, shapes):
        return cls()

    def forward_features(self, x):
        return [self.colour(avg_pool2d(x, 16))]
"""

FORMAT = """
def encode(result, suffix):
    return [f"{len(result)} mask".encode()]
"""

PROTOCOL = """
from dataclasses import dataclass, field

from pocketsam.evaluation.protocol import EvaluationProtocol
from pocketsam.utils.options import option
from pocketsam.evaluation.results import Means, PhotoResult, Report, Row, Table

@dataclass(frozen=True)
class Sizes(EvaluationProtocol):
    scale: int = field(default=1, metadata=option(type=int, help="What sizes are divided by.", metavar="N"))
    name, summary, description, follows = "sizes", "how large objects are", "Measures objects.", "nothing"
    results = {"size": "of an object, as a fraction of the photo"}
    headline = "size"

    def measure(self, segmenter, sample, photo):
        masks = zip(sample.ids, sample.each_mask(), strict=True)
        rows = [Row(i, int(mask.sum()), {"size": float(mask.mean()) / self.scale}) for i, mask in masks]
        return PhotoResult(photo, sample.name, rows=rows)

    def summarise(self, results):
        size = Means(results)["size"]
        return Report({"size": size}, [Table("sizes", ["", "size"], [["all", str(size)]])])
"""

TASK = """
from typing import Literal

from pocketsam.training.config import Recipe

class ShrinkRecipe(Recipe):
    method: Literal["shrink"]
    towards: float = 0.0

def build(recipe):
    from torch import nn

    from pocketsam.training.samples.masks import MaskSamples
    from pocketsam.training.student import make_student
    from pocketsam.training.task import Task

    class Shrink(nn.Module):
        def __init__(self, sam):
            super().__init__()
            self.sam = sam

        def forward(self, batch, step):
            embedding = self.sam.encode(batch["image"].float() / 255)
            return {"loss": (embedding - recipe.towards).square().mean()}

    sam, config = make_student(recipe)
    return Task(sam, config, Shrink(sam), MaskSamples(recipe, config.resize, 1))
"""

TARGET = """
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.utils.running import MODEL
from pocketsam.export.targets.base import FOLDER, Target
from pocketsam.utils.options import option

@dataclass(frozen=True)
class Note(Target):
    name, summary, description = "note", "a note about a model", "Writes where a model is."
    output: Path = field(default=Path("note"), metadata=FOLDER)
    model: str = field(default="pocket", metadata=MODEL)
    ending: str = field(default=".txt", metadata=option(str, "Of the file.", metavar="SUFFIX"))

    def export(self, zoo, read_images):
        self.output.mkdir()
        (self.output / f"note{self.ending}").write_text(str(zoo.locate_onnx(self.model)))
        yield f"written to {self.output}"
"""

RECIPE = """
image_size: 64
out: run
train: drawn shapes
steps: 1
batch: 1
workers: 0
precision: 32-true
"""


class Copy:
    """A copy of the package in `folder`, to which parts are added."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.package = folder, folder / "src" / "pocketsam"
        # Times are copied, too, so that only the changed table is compiled anew.
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("weights"))
        (self.package / "weights").symlink_to(PACKAGE / "weights")

    def add(self, file: str, content: str, table: str, entry: str) -> None:
        """A file, and an entry where the `table`, given as FILE:FIRST LINE, begins."""
        new, (path, _, first_line) = self.package / file, table.partition(":")
        assert not new.exists()
        new.write_text(content)
        text = (self.package / path).read_text()
        assert text.count(f"\n{first_line}\n") == 1
        (self.package / path).write_text(text.replace(f"\n{first_line}\n", f"\n{first_line}\n    {entry}\n"))

    def run(self, *words: str | Path) -> str:
        """What `pocketsam WORDS…` prints, run in the folder."""
        said, complaints = self.folder / "said", self.folder / "complaints"
        process = start(
            *words, stdout=said, stderr=complaints, folder=self.folder, source=self.package.parent
        )
        process.join()
        assert process.exitcode == 0, complaints.read_text()
        return said.read_text()

    def train(self, **values: str) -> None:
        lines = "".join(f"{name}: {value}\n" for name, value in values.items())
        (self.folder / "recipe.yaml").write_text(RECIPE + lines)
        self.run("train", "recipe.yaml")
        assert (self.folder / "run" / "model.safetensors").exists()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_an_engine(copy: Copy, samples: Path) -> None:
    entry = 'EngineEntry("new", "onnxruntime", "onnx"),'
    copy.add("engines/new.py", ENGINE, "engines/registry.py:_ENGINES = (", entry)
    words = ("segment", samples / "cap.jpg", "--point", "200,150", "-o", "cap.json", "--engine")
    assert "opened by the new engine" in copy.run(*words, "new")
    assert (copy.folder / "cap.json").exists()


def test_an_architecture(copy: Copy, samples: Path) -> None:
    """It can be trained, and its checkpoint is recognised by its shapes."""
    entry = '_trainable("mean_colour", "mean_colour:MeanColour", {}, _OURS),'
    copy.add("models/encoders/mean_colour.py", ENCODER, "models/architectures.py:_TABLE = (", entry)
    copy.train(model="mean_colour")
    words = ("segment", samples / "cap.jpg", "--point", "200,150", "-o", "cap.json", "--engine", "torch")
    copy.run(*words, "--model", "run")
    assert (copy.folder / "cap.json").exists()


def test_a_file_format(copy: Copy, samples: Path) -> None:
    entry = 'Format("count", (".count",), "the number of masks"),'
    copy.add("predict/formats/count.py", FORMAT, "predict/formats/__init__.py:FORMATS = (", entry)
    copy.run("segment", samples / "cap.jpg", "--point", "200,150", "-o", "cap.count")
    assert (copy.folder / "cap.count").read_text() == "1 mask"
    assert "the number of masks" in " ".join(copy.run("segment", "--help").split())


def test_a_protocol(copy: Copy) -> None:
    copy.add(
        "evaluation/protocols/sizes.py",
        PROTOCOL,
        "evaluation/protocols/__init__.py:_TABLE = (",
        '"sizes:Sizes",',
    )
    write_shard(copy.folder / "drawn.tar", {"a": blocks((0, 0, 30, 40))})
    copy.run("evaluate", "sizes", "drawn.tar", "--scale", "2", "-o", "result", "--workers", "0")
    document = json.loads((copy.folder / "result" / "result.json").read_text())
    assert document["result"] == {"size": 0.25}
    assert "sizes" in copy.run("evaluate", "--help")


def test_a_training_method(copy: Copy) -> None:
    copy.add(
        "training/tasks/shrink.py",
        TASK,
        "training/tasks/__init__.py:_TABLE = (",
        '"shrink:ShrinkRecipe",',
    )
    copy.train(method="shrink", model="patches", towards="0.5")


def test_an_export_target(copy: Copy) -> None:
    copy.add("export/targets/note.py", TARGET, "export/targets/__init__.py:_TABLE = (", '"note:Note",')
    assert copy.run("export", "note", "--ending", ".md") == "written to note\n"
    assert (copy.folder / "note" / "note.md").read_text().endswith("pocket")
    assert "a note about a model" in copy.run("export", "--help")
