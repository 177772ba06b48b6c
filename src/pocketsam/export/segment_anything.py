"""A model as two ONNX files in the layout of segment_anything's export, which AnyLabeling and others load.

    NAME.encoder.onnx   a photo of any size (H, W, 3), RGB from 0 to 255, to its embedding; preprocessing is inside
    NAME.decoder.onnx   the embedding and one object's prompt to its mask, in the photo's size
    config.yaml         what AnyLabeling and X-AnyLabeling read

They are joined of the model's own graphs (`graphs.py`), so that any model that ONNX Runtime runs can be exported,
and nothing of it is computed in another way. What is added, in `frames.py`, translates between the convention that
these programs have built in and the model's own.
"""

import json
from dataclasses import replace
from pathlib import Path

from pocketsam.config import ModelConfig
from pocketsam.export.frames import FRAME, FRAME_CELLS, MaskOutput, Pack, PhotoInput, PromptInput, Unpack
from pocketsam.export.joining import joined, no_embeddings, part, read_graphs
from pocketsam.export.onnx import write_model
from pocketsam.graphs import GRAPHS, IMAGE_EMBEDDINGS, GraphSpec, TensorSpec
from pocketsam.utils.files import write

_COORDINATES = TensorSpec("point_coords", (1, "points", 2))
_LABELS = TensorSpec("point_labels", (1, "points"))
_MASK = TensorSpec("mask_input", (1, 1, FRAME_CELLS, FRAME_CELLS))
_HAS_MASK = TensorSpec("has_mask_input", (1,))
_PHOTO_SIZE = TensorSpec("orig_im_size", (2,))
_ALL_MASKS = GRAPHS["decoder_masks"].outputs[0]
_ALL_IOUS = GRAPHS["decoder_predict_iou"].outputs[0]

DECODER_INPUTS = (_COORDINATES, _LABELS, _MASK, _HAS_MASK, _PHOTO_SIZE)
DECODER_OUTPUTS = (
    TensorSpec("masks", (1, 1, "height", "width")),
    TensorSpec("iou_predictions", (1, 1)),
    TensorSpec("low_res_masks", (1, 1, FRAME_CELLS, FRAME_CELLS)),
)
"""Names and axes of segment_anything's `SamOnnxModel` with `return_single_mask`; the embedding is the first input."""

_CONTENT = TensorSpec("content", (2,))
_TOKENS = TensorSpec("point_coords", (1, "tokens", 2)), TensorSpec("point_labels", (1, "tokens"), "int32")
_IMAGE = TensorSpec("input_image", ("height", "width", 3))
_PHOTO = GraphSpec("photo", (_IMAGE,), (*GRAPHS["encoder"].inputs, _CONTENT))
_PROMPTS = GraphSpec(
    "prompts", (*DECODER_INPUTS[:3], _CONTENT, _PHOTO_SIZE), (*_TOKENS, GRAPHS["decoder_prepare"].inputs[1])
)
_MASKS = GraphSpec(
    "masks", (_ALL_MASKS, _ALL_IOUS, _TOKENS[1], _HAS_MASK, _CONTENT, _PHOTO_SIZE), DECODER_OUTPUTS
)


def export_segment_anything(model: Path, folder: Path) -> tuple[Path, ...]:
    """Write the model in a folder of ONNX files as the three files, and return their paths.

    Raises OSError when a file cannot be read or written.
    """
    graphs, config = read_graphs(model)
    packed = _packed(config)
    pack = GraphSpec("pack", (IMAGE_EMBEDDINGS, _CONTENT), (packed,))
    unpack = GraphSpec("unpack", (packed, _PHOTO_SIZE), (IMAGE_EMBEDDINGS, _CONTENT))
    encoder = [
        part(_PHOTO, PhotoInput(config), config),
        graphs["encoder"],
        part(pack, Pack(config), config),
    ]
    decoder = [
        part(unpack, Unpack(config), config),
        part(_PROMPTS, PromptInput(config), config),
        graphs["decoder_prepare"],
        graphs["decoder_predict_iou"],
        graphs["decoder_masks"],
        part(_MASKS, MaskOutput(config), config),
    ]
    paths = [folder / f"{config.name}.{name}.onnx" for name in ("encoder", "decoder")]
    ends = (
        GraphSpec("encoder", (_IMAGE,), (packed,)),
        GraphSpec("decoder", (packed, *DECODER_INPUTS), DECODER_OUTPUTS),
    )
    write_model(paths[0], joined(ends[0], encoder, config), config)
    write_model(paths[1], joined(ends[1], decoder, config, [no_embeddings(1)]), config)
    settings = folder / "config.yaml"
    write(settings, _settings(config.name, *(path.name for path in paths)).encode())
    return (*paths, settings)


def _settings(name: str, encoder: str, decoder: str) -> str:
    """AnyLabeling's config. It places a photo in a frame of at most `max_width` × `max_height` pixels."""
    values = {
        "type": "segment_anything",
        "name": name,
        "display_name": f"PocketSAM ({name})",
        "encoder_model_path": encoder,
        "decoder_model_path": decoder,
        "input_size": FRAME,
        "max_width": FRAME,
        "max_height": 682,
    }
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def _packed(config: ModelConfig) -> TensorSpec:
    """The embedding between the two files."""
    extra = 0 if config.resize == "pad" else 1
    return replace(IMAGE_EMBEDDINGS, axes=(1, config.embedding_channels + extra, *IMAGE_EMBEDDINGS.axes[2:]))
