"""Files in segment_anything's ONNX layout, exported by another program, run as any model does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pocketsam import Segmenter
from pocketsam.compat.modeling.published import with_weights_of
from pocketsam.compat.utils.onnx import SamOnnxModel
from pocketsam.config import SAM
from pocketsam.engines import open_engine
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import ModelError
from pocketsam.models.architectures import build
from pocketsam.models.sam import Sam

SIZE = 128
INPUTS = ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]


class Preprocessing(torch.nn.Module):
    """An encoder that takes a photo, as AnyLabeling's do."""

    def __init__(self, sam: torch.nn.Module) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.sam.image_encoder(self.sam.preprocess(image.float().permute(2, 0, 1))[None])


@pytest.fixture(scope="module")
def network() -> Sam:
    torch.manual_seed(2)
    return build("patches", SIZE).eval()


def export(
    module: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    path: Path,
    names: list[str],
    outputs: list[str],
) -> None:
    axes = {
        "point_coords": {1: "points"},
        "point_labels": {1: "points"},
        "input_image": {0: "height", 1: "width"},
    }
    dynamic = {name: axes[name] for name in names if name in axes}
    torch.onnx.export(
        module,
        inputs,
        path,
        input_names=names,
        output_names=outputs,
        dynamic_axes=dynamic,
        opset_version=17,
        dynamo=False,
    )


@pytest.fixture(scope="module", params=["pixels", "a photo"])
def folder(network, tmp_path_factory, request) -> Path:
    folder = tmp_path_factory.mktemp("single" if request.param == "a photo" else "all")
    sam = with_weights_of(network)
    if request.param == "pixels":
        encoder, image, name = sam.image_encoder, torch.rand(1, 3, SIZE, SIZE), "x"
    else:
        encoder, image, name = (
            Preprocessing(sam),
            torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8),
            "input_image",
        )
    export(encoder, (image,), folder / "theirs.encoder.onnx", [name], ["image_embeddings"])
    prompt = (
        torch.randn(1, 256, SIZE // 16, SIZE // 16),
        torch.rand(1, 3, 2) * SIZE,
        torch.ones(1, 3),
        torch.zeros(1, 1, SIZE // 4, SIZE // 4),
        torch.zeros(1),
        torch.tensor([90.0, 120.0]),
    )
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    single = request.param == "a photo"
    export(SamOnnxModel(sam, single), prompt, folder / "theirs.decoder.onnx", INPUTS, outputs)
    return folder


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_it_gives_what_the_same_weights_give(network, folder, samples, engine):
    theirs = open_engine(folder, engine)
    expected = TorchEngine(network, replace(SAM, image_size=SIZE))
    theirs.config = expected.config  # a photo's size is not in a file that takes any
    photos = [Segmenter(engine=one).open(samples / "cap.jpg") for one in (theirs, expected)]
    single = "single" in folder.name
    for prompt in (
        {"points": (200, 200)},
        {"points": [(200, 200), (250, 300)]},
        {"boxes": (50, 50, 300, 300)},
    ):
        ours, known = (photo.segment(**prompt) for photo in photos)
        if single and "boxes" in prompt:  # which is padded there
            assert np.corrcoef(ours.logits.ravel(), known.logits.ravel())[0, 1] > 0.5
            continue
        np.testing.assert_allclose(ours.logits, known.logits, atol=1e-2 * known.logits.std())
        np.testing.assert_allclose(ours.predicted_iou, known.predicted_iou, atol=1e-4)
    clicks = [(200, 200), (250, 300)]
    refined = [photo.segment(points=clicks, mask_input=known.logits) for photo in photos]
    np.testing.assert_allclose(refined[0].logits, refined[1].logits, atol=1e-2 * refined[1].logits.std())


def test_a_folder_is_opened_by_its_files(folder):
    engine = open_engine(folder)
    assert engine.config.name == "theirs"
    assert len(engine.config.weights) == 64
    with pytest.raises(ModelError, match="holds ONNX files, which the torch engine cannot run"):
        open_engine(folder, "torch")


def test_files_of_something_else_are_named(folder, tmp_path):
    for part in ("encoder", "decoder"):
        (tmp_path / f"a.{part}.onnx").write_bytes((folder / "theirs.encoder.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"a\.decoder\.onnx: is no decoder in segment_anything's layout"):
        open_engine(tmp_path, "onnx")
    (tmp_path / "a.encoder.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"a\.encoder\.onnx: is damaged or not an ONNX model"):
        open_engine(tmp_path, "onnx")
