"""What is saved comes back, and what does not fit is refused with its reason."""

import pickle
from pathlib import Path

import pytest
import torch

from pocketsam.description import Description
from pocketsam.engines import open_engine
from pocketsam.engines.torch import TorchEngine
from pocketsam.errors import ModelError
from pocketsam.models.checkpoints import FILE_NAME, load_model, save_model, save_tensors
from pocketsam.models.sam import Sam, patches

DESCRIPTION = Description("patches", 64, "squash")


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return patches(64)


def test_a_model_comes_back_bit_for_bit(sam: Sam, tmp_path: Path) -> None:
    save_model(tmp_path / FILE_NAME, "patches", sam.state_dict(), DESCRIPTION)
    loaded, description = load_model(tmp_path / FILE_NAME)
    assert description == DESCRIPTION
    assert all(torch.equal(t, sam.state_dict()[name]) for name, t in loaded.state_dict().items())
    assert isinstance(open_engine(tmp_path), TorchEngine), "auto finds the only form there is"


def test_half_the_size_and_almost_the_same(sam: Sam, tmp_path: Path) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_model(full, "patches", sam.state_dict(), DESCRIPTION)
    save_model(half, "patches", sam.state_dict(), DESCRIPTION, half=True)
    assert half.stat().st_size < 0.52 * full.stat().st_size
    loaded, _ = load_model(half)
    weight = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
    ours, theirs = loaded.state_dict()[weight], sam.state_dict()[weight]
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "executed"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(trace), "w")

    (tmp_path / FILE_NAME).write_bytes(pickle.dumps({"model": Malicious()}))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(tmp_path / FILE_NAME)
    assert not trace.exists()


def test_missing_extra_and_misshapen_tensors_are_named(sam: Sam, tmp_path: Path) -> None:
    path, weights = tmp_path / FILE_NAME, sam.state_dict()
    token = "mask_decoder.iou_token.weight"
    cases = {
        f"missing: {token}": {n: t for n, t in weights.items() if n != token},
        "unknown: surplus": weights | {"surplus": torch.zeros(1)},
        f"of another shape: {token}": weights | {token: torch.zeros(2, 256)},
    }
    for message, tensors in cases.items():
        save_model(path, "patches", tensors, DESCRIPTION)
        with pytest.raises(ModelError, match=message):
            load_model(path)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "anonymous"])
def test_damaged_files_are_named(damage: str, sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    save_model(path, "patches", sam.state_dict(), DESCRIPTION)
    if damage == "missing":
        path.unlink()
    elif damage == "anonymous":
        save_tensors(path, sam.state_dict(), {})
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"model\.safetensors") as error:
        load_model(path)
    assert "\n" not in str(error.value)


def test_a_write_that_fails_leaves_the_former_file(
    sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    save_model(path, "patches", sam.state_dict(), DESCRIPTION)
    before = path.read_bytes()

    def disk_is_full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(before[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pocketsam.models.checkpoints.save_file", disk_is_full)
    with pytest.raises(ModelError, match="No space left"):
        save_model(path, "patches", sam.state_dict(), DESCRIPTION)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "nothing half-written stays behind"
