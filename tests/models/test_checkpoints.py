"""What is saved comes back, and what does not fit is refused with its reason."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pocketsam.config import SAM, ModelConfig
from pocketsam.engines import open_engine
from pocketsam.engines.onnx import OnnxEngine
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import ModelError
from pocketsam.export.onnx import export_onnx
from pocketsam.models.architectures import build
from pocketsam.models.checkpoints import FILE_NAME, digest, load_model, save_model, save_tensors
from pocketsam.models.encoders.sam_vit import SamViT
from pocketsam.models.sam import Sam

DESCRIPTION = ModelConfig(
    "patches", 64, "squash", pred_iou_thresh=0.75, stability_score_thresh=0.5, confident_logit=-1.25
)


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build("patches", 64)


def test_a_model_comes_back_bit_for_bit(sam: Sam, tmp_path: Path) -> None:
    written = save_model(tmp_path / FILE_NAME, sam.state_dict(), DESCRIPTION)
    loaded, config = load_model(tmp_path / FILE_NAME)
    assert config == written == replace(DESCRIPTION, weights=digest(sam.state_dict()))
    assert all(torch.equal(t, sam.state_dict()[name]) for name, t in loaded.state_dict().items())
    assert isinstance(open_engine(tmp_path, "torch"), TorchEngine)


def test_half_the_size_and_almost_the_same(sam: Sam, tmp_path: Path) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_model(full, sam.state_dict(), DESCRIPTION)
    save_model(half, sam.state_dict(), DESCRIPTION, half=True)
    assert half.stat().st_size < 0.52 * full.stat().st_size
    loaded, _ = load_model(half)
    weight = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
    ours, theirs = loaded.state_dict()[weight], sam.state_dict()[weight]
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


class Malicious:
    """Unpickled as pickle.load would, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.trace), "w")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    content = {"model": Malicious(trace)}
    (tmp_path / FILE_NAME).write_bytes(pickle.dumps(content))
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(content))
    torch.save(content, tmp_path / "zip.pt")
    for name, reason in {
        FILE_NAME: "not a safetensors file",
        "plain.pth": "a pickle that torch.save did not write, and is refused",
        "zip.pt": r"holds pickled Python code \(_?io\.open\).* is refused",
    }.items():
        with pytest.raises(ModelError, match=reason) as error:
            load_model(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not trace.exists()
    with (tmp_path / "plain.pth").open("rb") as file:
        pickle.load(file)
    assert trace.exists(), "it would have run"


def test_a_pickled_module_is_refused_with_the_reason(sam: Sam, tmp_path: Path) -> None:
    torch.save(sam, tmp_path / "module.pth")
    with pytest.raises(
        ModelError, match=r"pickled Python code \(pocketsam\.models\.sam\.Sam\).*a state dict"
    ):
        load_model(tmp_path / "module.pth")


@pytest.mark.parametrize(
    "wrap", [None, "model", "state_dict", "model_state", "module.", "module.sam.", "teacher."]
)
def test_published_files_are_read_however_they_are_wrapped(
    wrap: str | None, sam: Sam, tmp_path: Path
) -> None:
    weights = sam.state_dict()
    if wrap and wrap.endswith("."):
        weights = {f"{wrap}{name}": tensor for name, tensor in weights.items()}
        if wrap == "teacher.":
            weights["student.weight"] = torch.zeros(1)
    elif wrap:
        weights = {wrap: weights, "epoch": 3}
    torch.save(weights, tmp_path / "my_patches.pt")
    loaded, config = load_model(tmp_path / "my_patches.pt", DESCRIPTION)
    assert all(torch.equal(t, sam.state_dict()[name]) for name, t in loaded.state_dict().items())
    assert config.image_size == 64
    assert load_model(tmp_path / "my_patches.pt")[1].name == "my_patches"


def test_of_sam_hq_sams_own_tensors_are_read_and_the_rest_is_named(sam: Sam, tmp_path: Path) -> None:
    weights = dict(sam.state_dict())
    path = tmp_path / "hq.pth"
    torch.save(weights | {"mask_decoder.hf_token.weight": torch.zeros(1, 256)}, path)
    with pytest.warns(UserWarning, match=r"hq.pth: is a SAM-HQ; .* its 1 others"):
        loaded, _ = load_model(path)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())


def test_half_precision_files_become_float32(sam: Sam, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in sam.state_dict().items()}, tmp_path / "half.pt")
    loaded, _ = load_model(tmp_path / "half.pt", DESCRIPTION)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


def test_the_digest_is_that_of_the_weights_whatever_keeps_them(sam: Sam, tmp_path: Path) -> None:
    torch.save(sam.state_dict(), tmp_path / "a.pt")
    torch.save(dict(reversed(sam.state_dict().items())), tmp_path / "b.pt")
    save_model(tmp_path / "c.safetensors", sam.state_dict(), DESCRIPTION)
    paths = [tmp_path / name for name in ("a.pt", "b.pt", "c.safetensors")]
    found = {load_model(path, DESCRIPTION)[1].weights for path in paths}
    export_onnx(sam, DESCRIPTION, tmp_path)
    assert found == {OnnxEngine(tmp_path).config.weights}
    changed = sam.state_dict() | {"mask_decoder.iou_token.weight": torch.zeros(1, 256)}
    assert digest(changed) not in found


def test_a_forced_architecture_must_be_the_one_in_the_file(sam: Sam, tmp_path: Path) -> None:
    torch.save(build("pocket", 64).state_dict(), tmp_path / "x.pt")
    with pytest.raises(ModelError, match=r"x\.pt: is pocket, not sam_vit_b"):
        load_model(tmp_path / "x.pt", replace(SAM, architecture="sam_vit_b"))
    torch.save(sam.state_dict(), tmp_path / "y.pt")
    with pytest.raises(ModelError, match="is a network of a shape of its own, not mobile_sam"):
        load_model(tmp_path / "y.pt", replace(SAM, architecture="mobile_sam"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"backbone.conv.weight": torch.zeros(3)}, "no family that PocketSAM knows.*backbone.conv.weight"),
        ({}, "no family"),
        ([torch.zeros(1)], "no state dict"),
        ({"model": {"epoch": 1}}, "no state dict"),
        (torch.zeros(3), "no state dict"),
    ],
)
def test_files_that_hold_something_else(content: object, reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=rf"x\.pt: .*{reason}"):
        load_model(tmp_path / "x.pt")


def test_a_block_that_is_missing_is_named(tmp_path: Path) -> None:
    weights = build("pocket", 64).state_dict()
    for key in ("image_encoder.blocks.1.depthwise.conv.weight", "image_encoder.neck.skip8.weight"):
        torch.save({name: tensor for name, tensor in weights.items() if name != key}, tmp_path / "x.pt")
        with pytest.raises(ModelError, match=f"missing: {key}"):
            load_model(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(27, 0)}, "make no network"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(())}, "make no network"),
        ({"image_encoder.pos_embed": torch.zeros(1, 4)}, "make no network"),
        ({"image_encoder.blocks.999999999.norm1.weight": torch.zeros(1)}, "missing: image_encoder.blocks.1"),
        ({"image_encoder.blocks.x.norm1.weight": torch.zeros(1)}, "make no network"),
    ],
)
def test_tensors_of_impossible_shapes(change: dict[str, torch.Tensor], reason: str, tmp_path: Path) -> None:
    sam = Sam(SamViT(width=8, depth=1, heads=2, hidden=8, image_size=64), 64)
    torch.save(sam.state_dict() | change, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=rf"x\.pt: .*{reason}"):
        load_model(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(1, 256, dtype=torch.int64), "of another type"),
        (torch.zeros(1, 256, dtype=torch.complex64), "complex"),
        (torch.zeros(1, 256).to_sparse(), "sparse"),
    ],
)
def test_tensors_of_another_kind(tensor: torch.Tensor, reason: str, sam: Sam, tmp_path: Path) -> None:
    torch.save(sam.state_dict() | {"mask_decoder.iou_token.weight": tensor}, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=rf"x\.pt: .*{reason}") as error:
        load_model(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


def test_one_onnx_file_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="is one of a model's ONNX files; give the folder that holds them all"
    ):
        load_model(tmp_path / "encoder.onnx")


@pytest.mark.parametrize("kept", [0, 10, 2000, 100_000])
def test_truncated_pytorch_files_are_named(kept: int, sam: Sam, tmp_path: Path) -> None:
    torch.save(sam.state_dict(), tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"x\.pt: is damaged") as error:
        load_model(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


def test_missing_extra_and_misshapen_tensors_are_named(sam: Sam, tmp_path: Path) -> None:
    path, weights = tmp_path / FILE_NAME, sam.state_dict()
    token = "mask_decoder.iou_token.weight"
    cases = {
        f"missing: {token}": {n: t for n, t in weights.items() if n != token},
        "unknown: surplus": weights | {"surplus": torch.zeros(1)},
        f"of another shape: {token}": weights | {token: torch.zeros(2, 256)},
    }
    for message, tensors in cases.items():
        save_model(path, tensors, DESCRIPTION)
        with pytest.raises(ModelError, match=message):
            load_model(path)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "anonymous"])
def test_damaged_files_are_named(damage: str, sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    save_model(path, sam.state_dict(), DESCRIPTION)
    if damage == "missing":
        path.unlink()
    elif damage == "anonymous":
        save_tensors(path, sam.state_dict(), {"pocketsam": "{}"})
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"model\.safetensors") as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_a_write_that_fails_leaves_the_former_file(
    sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    save_model(path, sam.state_dict(), DESCRIPTION)
    before = path.read_bytes()

    def disk_is_full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(before[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pocketsam.models.checkpoints.save_file", disk_is_full)
    with pytest.raises(ModelError, match="No space left"):
        save_model(path, sam.state_dict(), DESCRIPTION)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "nothing half-written stays behind"
