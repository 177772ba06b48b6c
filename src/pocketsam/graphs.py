"""The graphs of a model folder, one ONNX file each, and the names of what goes in and out.

    encoder           a photo to its embedding, once a photo
    decoder_prepare   what no prompt changes about the embedding, once a photo
    decoder_predict_iou       prompts to how good their masks would be
    decoder_masks      the masks of those prompts that are worth it

`models/factored.py` says what the decoder's three parts do.
"""

IMAGE_INPUTS = (
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
"""What `decoder_predict_iou` needs of an image."""

IMAGE_MASK_INPUTS = ("upscaled", "finer8", "finer4")
"""What `decoder_masks` needs of an image."""

MASK_INPUTS = ("kernels", "scale", "channels", "basis")
"""What `decoder_masks` needs of prompts."""

GRAPHS: dict[str, tuple[list[str], list[str]]] = {
    "encoder": (["image"], ["image_embedding"]),
    "decoder_prepare": (["image_embedding", "mask_input", "has_mask"], [*IMAGE_INPUTS, *IMAGE_MASK_INPUTS]),
    "decoder_predict_iou": (["points", "labels", *IMAGE_INPUTS], ["predicted_iou", *MASK_INPUTS]),
    "decoder_masks": ([*IMAGE_MASK_INPUTS, *MASK_INPUTS], ["logits"]),
}
"""The inputs and the outputs of each, in order."""

ONNX_FILES = tuple(f"{name}.onnx" for name in GRAPHS)
