"""A model in segment_anything's ONNX layout, as other programs export it: an encoder, and a decoder of one prompt.

    *encoder*.onnx   (1, 3, S, S) normalised pixels, or (H, W, 3) from 0 to 255, to the embedding
    *decoder*.onnx   image_embeddings, point_coords, point_labels, mask_input, has_mask_input, orig_im_size to masks,
                     iou_predictions, low_res_masks: of all four masks, or of the one that the prompt means

ONNX Runtime and OpenVINO both run it. Our own graphs (`graphs.py`) divide the decoder so that much is computed only
once for each image; here every prompt is computed from the start.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketsam.config import BOX_START, METADATA_KEY, PADDING, SAM, ModelConfig
from pocketsam.engines.base import EngineInfo, Prediction, mask_or_none
from pocketsam.errors import ModelError

Array = NDArray[np.float32]
DECODER_INPUTS = (
    "image_embeddings",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
    "orig_im_size",
)
DECODER_OUTPUTS = ["iou_predictions", "low_res_masks"]
PHOTO_SIZE = (256, 256)
"""Asked for where the decoder enlarges masks, which nobody needs here: small, so that it takes no time."""


class Graph(NamedTuple):
    """A file that is open.

    shapes, dtypes: of the inputs; an axis of any size is None. run: the inputs to some of the outputs.
    """

    shapes: Mapping[str, list[int | None]]
    dtypes: Mapping[str, np.dtype[Any]]
    outputs: Sequence[str]
    metadata: Mapping[str, str]
    run: Callable[[Mapping[str, NDArray[Any]], Sequence[str]], list[NDArray[Any]]]


class SegmentAnythingEngine:
    """An `Engine` on two such files. Raises ModelError when they are others, or damaged."""

    def __init__(
        self, files: tuple[Path, Path], open_file: Callable[[Path], Graph], info: EngineInfo
    ) -> None:
        self._encoder, self._decoder = (_open(path, open_file) for path in files)
        self.info = info
        if set(DECODER_INPUTS) != set(self._decoder.shapes) or not set(DECODER_OUTPUTS) <= set(
            self._decoder.outputs
        ):
            raise ModelError(
                f"{files[1]}: is no decoder in segment_anything's layout, with the inputs {', '.join(DECODER_INPUTS)}"
            )
        self.config = _config(files, self._encoder)
        self._single: bool | None = None  # whether the decoder gives one mask only, once that is known

    def encode(self, image: Array) -> Array:
        """See `Engine.encode`."""
        (name,) = self._encoder.shapes
        given: Array = image
        if len(self._encoder.shapes[name]) == 3:  # it normalises and pads by itself
            height, width = _content(image[0]) if None in self._encoder.shapes[name] else image.shape[2:]
            pixels = image[0, :, :height, :width].transpose(1, 2, 0)
            given = np.asarray(pixels * self.config.std + self.config.mean, np.float32)
        if self._encoder.dtypes[name].kind in "iu":
            given = given.round()
        embedding: Array = self._encoder.run(self._cast(self._encoder, {name: given}), self._encoder.outputs)[
            0
        ]
        return embedding

    def prepare(self, embedding: Array, mask_input: Array | None = None) -> dict[str, NDArray[Any]]:
        """See `Engine.prepare`."""
        mask, has_mask = mask_or_none(self.config, mask_input)
        return {"image_embeddings": embedding, "mask_input": mask, "has_mask_input": has_mask}

    def predict_iou(
        self,
        prepared: dict[str, NDArray[Any]],
        points: Array,
        labels: NDArray[np.int32],
        sparse_embeddings: Array | None = None,
    ) -> Prediction:
        """See `Engine.predict_iou`; the masks are computed at once. Raises ModelError for prompt embeddings."""
        if sparse_embeddings is not None and sparse_embeddings.size:
            raise ModelError(
                "a model in segment_anything's ONNX layout takes points and boxes, no embeddings"
            )
        if not points.shape[1]:  # the files need a point
            points, labels = np.zeros((len(points), 1, 2), np.float32), np.full((len(points), 1), PADDING)
        if self._single is None and len(points):
            iou, _ = self._run(prepared, points[:1], labels[:1])
            self._single = iou.shape[1] == 1
        if self._single and (labels == BOX_START).any() and points.shape[1] < 3:
            # Such a file tells by the number of points that a prompt is unambiguous; so programs pad a box, too.
            points = np.pad(points, ((0, 0), (0, 1), (0, 0)))
            labels = np.pad(labels, ((0, 0), (0, 1)), constant_values=PADDING)
        side = self.config.mask_size
        iou = np.empty((len(points), 4), np.float32)
        masks = np.empty((len(points), 4, side, side), np.float32)
        for i in range(len(points)):
            # Where there is one mask only, it stands for all four.
            iou[i], masks[i] = (
                output[0] for output in self._run(prepared, points[i : i + 1], labels[i : i + 1])
            )
        return Prediction(iou, masks)

    def decode_masks(self, prediction: Prediction, objects: Sequence[int] | NDArray[np.intp]) -> Array:
        """See `Engine.decode_masks`."""
        masks: Array = prediction.mask_inputs[np.asarray(objects, np.intp)]
        return masks

    def _run(
        self, prepared: dict[str, NDArray[Any]], points: Array, labels: NDArray[np.int32]
    ) -> list[NDArray[Any]]:
        given = {"point_coords": points, "point_labels": labels, "orig_im_size": np.array(PHOTO_SIZE)}
        return self._decoder.run(self._cast(self._decoder, prepared | given), DECODER_OUTPUTS)

    @staticmethod
    def _cast(graph: Graph, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: np.ascontiguousarray(values, graph.dtypes[name]) for name, values in given.items()}


def _content(image: Array) -> tuple[int, int]:
    """The rows and columns of a normalised photo (3, S, S) before its padding, whose values are 0."""
    _, rows, columns = np.nonzero(image)
    return (int(rows.max()) + 1, int(columns.max()) + 1) if rows.size else (image.shape[1], image.shape[2])


def _open(path: Path, open_file: Callable[[Path], Graph]) -> Graph:
    try:
        graph = open_file(path)
    except Exception as error:  # the runtimes' exceptions have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: is damaged or not an ONNX model ({reason}); get the file again") from error
    if METADATA_KEY in graph.metadata:
        raise ModelError(
            f"{path}: was exported by PocketSAM for other programs; open the model that it was made of"
        )
    return graph


def _config(files: tuple[Path, Path], encoder: Graph) -> ModelConfig:
    shapes = list(encoder.shapes.values())
    if len(shapes) != 1 or len(shapes[0]) not in (3, 4):
        raise ModelError(f"{files[0]}: is no image encoder: it has {len(shapes)} inputs, not one image")
    size = shapes[0][-1] if len(shapes[0]) == 4 else None
    found = hashlib.sha256()
    for path in files:
        found.update(path.read_bytes())
    return replace(
        SAM,
        name=files[0].stem.removesuffix("encoder").strip("._-") or "segment_anything",
        image_size=size or SAM.image_size,
        licence="",
        weights=found.hexdigest(),
    )
