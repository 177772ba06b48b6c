"""The jobs that need a model: they give what the same model gives one photo at a time."""

import json
import tarfile

import numpy as np
import pytest

from pocketsam.apps.text_arguments import TextArguments
from pocketsam.embeddings.job import embed
from pocketsam.errors import InputError
from pocketsam.predict.prompt_arguments import PromptArguments
from pocketsam.predict.result_arguments import ResultArguments
from pocketsam.scale.jobs.embed import Embed
from pocketsam.scale.jobs.segment import Segment
from pocketsam.scale.run import run
from pocketsam.utils.rle import decode
from predictors import SIDE, PerfectEngine
from shards import blocks, write_shard

BOXES = ((4, 6, 30, 28), (36, 8, 58, 56))
MASKS = blocks(*BOXES, size=(SIDE, SIDE))


@pytest.fixture
def shard(tmp_path, monkeypatch):
    """A shard of three photos with two objects each, and the engine that finds these."""
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: PerfectEngine())
    return write_shard(tmp_path / "s.tar", {f"x/{name}": MASKS for name in "abc"})


@pytest.mark.parametrize("bits", [16, 8])
def test_embeddings_are_the_store_that_one_machine_writes(tmp_path, engine, monkeypatch, bits):
    monkeypatch.setattr("pocketsam.engines.open_engine", lambda *_, **__: engine)
    monkeypatch.setattr(engine, "encode", lambda image: np.full((1, 256, 4, 4), image.mean(), np.float32))
    shard = write_shard(tmp_path / "s.tar", {name: MASKS[:objects] for objects, name in enumerate("abcdef")})
    embed(engine, shard, tmp_path / "store", bits)
    run(Embed(bits=bits), [shard], tmp_path / "out")
    for name in ("store.json", "s.tar", "s.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "store" / name).read_bytes(), name
    summary = embed(engine, shard, tmp_path / "out", bits)
    assert (summary.photos, summary.embedded) == (6, 0)


def found(out) -> dict[str, list[dict]]:
    """The annotations of each photo of the shard."""
    with tarfile.open(out / "s.tar") as tar:
        return {one.name: json.load(tar.extractfile(one))["annotations"] for one in tar}


def test_boxes_of_a_detectors_file_become_masks_with_names_and_scores(shard, tmp_path):
    boxes = tmp_path / "boxes.json"
    given = [
        {"name": name, "score": 0.9, "box": box} for name, box in zip(("cap", "shoe"), BOXES, strict=True)
    ]
    boxes.write_text(json.dumps({"a.jpg": given, "b.jpg": [{**given[0], "score": 0.1}]}))
    job = Segment.of(PromptArguments(), TextArguments(["cap", "shoe"], str(boxes)), ResultArguments())
    assert run(job, [shard], tmp_path / "out").total("masks") == 2
    masks = found(tmp_path / "out")
    assert [(one["category"], one["detector_score"]) for one in masks["x/a.json"]] == [
        ("cap", pytest.approx(0.9)),
        ("shoe", pytest.approx(0.9)),
    ]
    assert np.array_equal([decode(one["segmentation"]) for one in masks["x/a.json"]], MASKS)
    assert masks["x/b.json"] == masks["x/c.json"] == []


def test_prompts_of_a_file_become_masks_and_a_photo_without_prompts_has_none(shard, tmp_path):
    prompts = tmp_path / "prompts.csv"
    prompts.write_text('photo,boxes,name\nx/b.jpg,"36,8,58,56",shoe\n')
    run(
        Segment.of(PromptArguments(prompts=prompts), TextArguments(), ResultArguments()),
        [shard],
        tmp_path / "out",
    )
    masks = found(tmp_path / "out")
    assert np.array_equal(decode(masks["x/b.json"][0]["segmentation"]), MASKS[1])
    assert masks["x/a.json"] == masks["x/c.json"] == []


def test_prompts_of_one_photo_and_none_at_all_are_refused():
    with pytest.raises(InputError, match="--point, --box and --mask are of one photo"):
        Segment.of(PromptArguments(box=["1,2,3,4"]), TextArguments(), ResultArguments())
    with pytest.raises(InputError, match="shards need prompts"):
        Segment.of(PromptArguments(), TextArguments(), ResultArguments())
