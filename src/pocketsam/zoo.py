"""Models by name: what is published of the family, what is on disk, and where to fetch the rest.

The parameters counted are those that take part in segmenting: TinyViT's classifier, which the files of MobileSAM and
TinySAM still hold, does not, nor do buffers.
"""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketsam.config import EFFICIENT_SAM, SAM, TINY_SAM, ModelConfig
from pocketsam.errors import ModelError
from pocketsam.graphs import INT8_ENCODER, ONNX_FILES, SALIENCY
from pocketsam.utils.files import home
from pocketsam.utils.install import how_to_install, installed

if TYPE_CHECKING:
    from pocketsam.engines import Engine

MODEL_FILES = (*ONNX_FILES, INT8_ENCODER, SALIENCY.file, "model.safetensors")
"""What a model folder may hold."""


@dataclass(frozen=True)
class Model:
    """A model known by name.

    url: where its file is published; "" for the model inside the package. file: its published name.
    sha256, bytes: of that file, unpacked; None where nobody has published them.
    """

    config: ModelConfig
    parameters: int
    url: str = ""
    file: str = ""
    sha256: str | None = None
    bytes: int | None = None

    @property
    def name(self) -> str:
        """The name that commands and `Segmenter` take."""
        return self.config.name


_META = "https://dl.fbaipublicfiles.com/segment_anything"
_TINY_SAM = "https://github.com/xinghaochen/TinySAM/releases/download"
_EFFICIENT_SAM = "https://github.com/yformer/EfficientSAM/raw/main/weights"
_SLIM_SAM = "https://huggingface.co/Zigeng"

_MODELS = (
    Model(
        ModelConfig(
            "pocket",
            image_size=512,
            resize="squash",
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            licence="Apache-2.0",
            architecture="pocket",
            click_masks=(0, 1, 2, 3),
            embedding_channels=1024,
        ),
        parameters=9_248_720,
    ),
    Model(
        replace(SAM, name="sam_vit_b", architecture="sam_vit_b"),
        parameters=93_735_472,
        url=f"{_META}/sam_vit_b_01ec64.pth",
        file="sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        bytes=375_042_383,
    ),
    Model(
        replace(SAM, name="sam_vit_l", architecture="sam_vit_l"),
        parameters=312_342_832,
        url=f"{_META}/sam_vit_l_0b3195.pth",
        file="sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        bytes=1_249_524_607,
    ),
    Model(
        replace(SAM, name="sam_vit_h", architecture="sam_vit_h"),
        parameters=641_090_608,
        url=f"{_META}/sam_vit_h_4b8939.pth",
        file="sam_vit_h_4b8939.pth",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        bytes=2_564_550_879,
    ),
    Model(
        replace(SAM, name="mobile_sam", architecture="mobile_sam"),
        parameters=9_808_452,
        url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        file="mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        bytes=40_728_226,
    ),
    Model(
        replace(TINY_SAM, name="tinysam", architecture="mobile_sam"),
        parameters=9_808_452,
        url=f"{_TINY_SAM}/3.0/tinysam_42.3.pth",
        file="tinysam_42.3.pth",
    ),
    Model(
        replace(TINY_SAM, name="tinysam_1.0", architecture="mobile_sam"),
        parameters=9_808_452,
        url=f"{_TINY_SAM}/1.0/tinysam.pth",
        file="tinysam.pth",
    ),
    Model(
        replace(EFFICIENT_SAM, name="efficient_sam_ti", architecture="efficient_sam_ti"),
        parameters=10_223_204,
        url=f"{_EFFICIENT_SAM}/efficient_sam_vitt.pt",
        file="efficient_sam_vitt.pt",
        sha256="dff858b19600a46461cbb7de98f796b23a7a888d9f5e34c0b033f7d6eb9e4e6a",
        bytes=40_982_470,
    ),
    Model(
        replace(EFFICIENT_SAM, name="efficient_sam_s", architecture="efficient_sam_s"),
        parameters=26_413_028,
        url=f"{_EFFICIENT_SAM}/efficient_sam_vits.pt.zip",
        file="efficient_sam_vits.pt",
        sha256="339376940b92351ae26dd1162e2305a1cc6f5cde735105e91286251abd9a6b65",
        bytes=105_742_022,
    ),
    Model(  # Hugging Face has many a model.safetensors; here the file is named after its repository
        replace(SAM, name="slimsam_50", architecture="slimsam_50"),
        parameters=27_961_776,
        url=f"{_SLIM_SAM}/SlimSAM-uniform-50/resolve/main/model.safetensors",
        file="SlimSAM-uniform-50.safetensors",
        sha256="c6146291d993f315ae1951e1209555d6c9dea1404546dc54edbc3f15fb1d8e69",
    ),
    Model(
        replace(SAM, name="slimsam_77", architecture="slimsam_77"),
        parameters=9_723_528,
        url=f"{_SLIM_SAM}/SlimSAM-uniform-77/resolve/main/model.safetensors",
        file="SlimSAM-uniform-77.safetensors",
        sha256="b0ee221e3d33935807a820c157fec81a537b3b9979edc88b148a8dae8bbdd5d2",
    ),
)

MODELS = {model.name: model for model in _MODELS}
"""Every model that can be given by name."""

PACKAGED = Path(__file__).parent / "weights" / "pocket"


def locate(model: str | Path) -> tuple[Path, ModelConfig | None]:
    """The folder or the checkpoint file of a model, and what is known of it that the file does not say.

    model: a name, which is fetched if it is not on disk; or a folder, or a checkpoint file.
    Raises ModelError when there is none of these, or the file cannot be fetched.
    """
    known = MODELS.get(model) if isinstance(model, str) else None
    if known and not model_files(Path(known.name)):  # a folder of that name, here, is what `convert` has made
        path = on_disk(known) or _fetch(known)
        return path, known.config if path.is_file() else None
    path = Path(model)
    if path.is_dir():
        return path, None
    published = next((known for known in MODELS.values() if known.file == path.name), None)
    if path.is_file():
        return path, published.config if published else None
    close = [published.name] if published else get_close_matches(str(model).lower(), MODELS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"give a model folder, or one of: {', '.join(MODELS)}"
    raise ModelError(f"there is no model {str(model)!r}; {hint}")


def open_engine_of(model: str | Path, engine: str = "auto", **options: Any) -> "Engine":
    """The engine of a model that is named as for `locate`; options: those of `open_engine`. Raises as both do."""
    from pocketsam.engines import open_engine

    source, config = locate(model)
    return open_engine(source, engine, config=config, **options)


def locate_weights(
    model: str | Path, purpose: str, known_as: str | None = None
) -> tuple[Path, ModelConfig | None]:
    """The weights of a model, and what is known of it that they do not say.

    purpose: such as "quantise". known_as: which published model it is, where its file name does not tell.
    Raises ModelError when there is no such model, or only files that were made of its weights.
    """
    from pocketsam.engines.source import weights_file  # brings numpy with it

    if known_as is not None and known_as not in MODELS:
        raise ModelError(f"--as {known_as}: no published model has this name; `pocketsam models` lists them")
    source, config = locate(model)
    weights = weights_file(source)
    if weights is None:
        raise ModelError(
            f"{source}: holds no weights to {purpose}, but files that are exported or quantised already; give the"
            " checkpoint that they were made of"
        )
    return weights, MODELS[known_as].config if known_as else config


def locate_onnx(model: str | Path) -> Path:
    """The folder of a model's ONNX files, which are made of its weights where there are none yet.

    Raises ModelError as `locate` does, and when they cannot be made.
    """
    from pocketsam.engines.source import onnx_folder

    return onnx_folder(*locate(model))


def describe(model: Model) -> tuple[str, str, str, str, str, str]:
    """A model in words: name, parameters, side of its input, MB, licence, where it is; "no" if it is not on disk.

    MB are those of its files, which are on disk or published; "?" where nobody has published them.
    """
    size, stored, path = model.bytes, "no", on_disk(model)
    if path is not None:
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else model_files(path)))
        stored = str(path.relative_to(home())) if model.url else "in the package"
    mb = f"{size / 1e6:.1f}" if size else "?"
    config = model.config
    return model.name, f"{model.parameters / 1e6:.1f} M", f"{config.image_size}²", mb, config.licence, stored


def on_disk(model: Model) -> Path | None:
    """The model's folder or its published file, where either is there already; a folder comes first."""
    if not model.url:
        return PACKAGED
    folder = home() / model.name
    if model_files(folder):
        return folder
    return next((file for file in (home() / model.file, folder / model.file) if file.is_file()), None)


def model_files(folder: Path) -> list[Path]:
    """The files that make a folder a model: its weights, or all its ONNX files, or both. Else none."""
    files = [folder / name for name in MODEL_FILES if (folder / name).is_file()]
    whole = {folder / name for name in ONNX_FILES} <= set(files) or folder / "model.safetensors" in files
    return files + sorted(folder.glob("*.onnx.data")) if whole else []


def _fetch(model: Model) -> Path:
    if not installed("torch"):  # before gigabytes come for nothing
        raise ModelError(
            f"{model.name} is published as PyTorch weights; to run or convert them: {how_to_install('export')}"
        )
    from pocketsam.utils.fetch import fetch

    member = model.file if model.url.endswith(".zip") else None
    return fetch(model.url, home() / model.name / model.file, model.sha256, model.bytes, member)
