"""The graphs of a model folder, one ONNX file each, and the names of what goes in and out.

    encoder           a photo to its embedding, once a photo
    decoder_prepare   what no prompt changes about the embedding, once a photo
    decoder_ask       prompts to how good their masks would be
    decoder_draw      the masks of those prompts that are worth it

`models/factored.py` says what the decoder's three parts do.
"""

IMAGE_SIDE = (
    "keys1",
    "values1",
    "queries1",
    "written1",
    "squares1",
    "keys2",
    "key_places2",
    "values2",
    "queries2",
    "query_places2",
    "written1_again",
    "written2",
    "constant2",
    "squares2",
    "keys3",
    "key_places3",
    "values3",
)
"""What `decoder_ask` needs of an image."""

IMAGE_TO_DRAW = ("upscaled", "finer8", "finer4")
"""What `decoder_draw` needs of an image."""

TO_DRAW = ("kernels", "scale", "channels", "basis")
"""What `decoder_draw` needs of prompts."""

GRAPHS: dict[str, tuple[list[str], list[str]]] = {
    "encoder": (["image"], ["image_embedding"]),
    "decoder_prepare": (["image_embedding", "mask_input", "has_mask"], [*IMAGE_SIDE, *IMAGE_TO_DRAW]),
    "decoder_ask": (["points", "labels", *IMAGE_SIDE], ["predicted_iou", *TO_DRAW]),
    "decoder_draw": ([*IMAGE_TO_DRAW, *TO_DRAW], ["logits"]),
}
"""The inputs and the outputs of each, in order."""

ONNX_FILES = tuple(f"{name}.onnx" for name in GRAPHS)
