"""FastSAM (arXiv 2306.12156): all masks of a photo from one pass of a YOLOv8-seg network, before there is any prompt.

photo → letterbox → network → boxes, scores and mask coefficients, prototypes → NMS → masks

The network is an ONNX file that the user has, as the programs that train FastSAM and YOLOv8-seg export it. It gives
a column for each of A places: a box, a score for each class, and 32 coefficients. A mask is the sum of the 32
prototypes, weighted by its coefficients, and cut off at its box (YOLACT, arXiv 1904.02689, section 3). Prompts choose
among the masks in `apps/mapping.py`.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pocketsam.engines.base import cores
from pocketsam.errors import ModelError
from pocketsam.predict.formats.labelled import LabelledObject, LabelledPhoto
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.utils.boxes import nms
from pocketsam.utils.rle import RLE, encode_at

Floats = NDArray[np.float32]

PROTOTYPES = 32
PAD = 114
"""The grey around the photo."""
DYNAMIC_SIDE = 1024
"""Pixels a side of what a network gets that takes any size and does not say which it was trained on: FastSAM's."""
LARGEST = 7680
"""Boxes of different classes are moved apart by this many pixels, so that NMS compares only those of one class."""
REMEDY = "give a YOLOv8-seg or FastSAM model that was exported to ONNX without NMS inside"


@dataclass(frozen=True)
class Letterbox:
    """A photo of height × width pixels in a network's input of (H, W) pixels, scaled and centred on grey.

    gain: input pixels a photo pixel. left, top: of the photo in the input, in pixels.
    """

    height: int
    width: int
    side: tuple[int, int]

    @property
    def gain(self) -> float:
        return min(self.side[0] / self.height, self.side[1] / self.width)

    @property
    def resized(self) -> tuple[int, int]:
        return max(1, round(self.height * self.gain)), max(1, round(self.width * self.gain))

    @property
    def top(self) -> int:
        return round((self.side[0] - self.resized[0]) / 2 - 0.1)

    @property
    def left(self) -> int:
        return round((self.side[1] - self.resized[1]) / 2 - 0.1)

    def input(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The photo (height, width, 3) as the network gets it, (H, W, 3)."""
        height, width = self.resized
        framed = np.full((*self.side, 3), PAD, np.uint8)
        place = slice(self.top, self.top + height), slice(self.left, self.left + width)
        framed[place] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return framed

    def boxes_to_photo(self, boxes: Floats) -> Floats:
        """Boxes (N, 4) XYXY in pixels of the input, in pixels of the photo and cut off at its edges."""
        height, width = self.resized
        corner = np.array([self.left, self.top] * 2, np.float32)
        gains = np.array([width / self.width, height / self.height] * 2, np.float32)
        edges = np.array([self.width, self.height] * 2, np.float32)
        return np.asarray(np.clip((boxes - corner) / gains, 0, edges), np.float32)

    def mask_in_photo(self, logits: Floats, box: Floats) -> tuple[NDArray[np.bool_], int, int]:
        """A mask inside its box (4,), in pixels of the photo, and the upper left corner of what is returned.

        logits: (h, w) over the whole input, above 0 inside. They are interpolated where the box is, and only there.
        """
        x0, y0, x1, y1 = (
            np.ceil(box).astype(int).tolist()
        )  # the pixels whose left and upper edges are in the box
        cell_x, cell_y = logits.shape[1] / self.side[1], logits.shape[0] / self.side[0]
        height, width = self.resized
        x = ((np.arange(x0, x1) + 0.5) * width / self.width + self.left) * cell_x - 0.5
        y = ((np.arange(y0, y1) + 0.5) * height / self.height + self.top) * cell_y - 0.5
        if not x.size or not y.size:
            return np.zeros((0, 0), np.bool_), x0, y0
        columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        part = cv2.remap(logits, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(part > 0), x0, y0


@dataclass(frozen=True, eq=False)
class Detections:
    """N objects of a photo, the most confident first: boxes (N, 4) XYXY in its pixels, scores (N,), classes (N,)."""

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]
    rle: list[RLE]


def decode(
    output: Floats, prototypes: Floats, place: Letterbox, confidence: float, same: float
) -> Detections:
    """The objects in what the network gives: output (4 + classes + 32, A) and prototypes (32, h, w).

    confidence: the least score of an object. same: of two boxes of one class with a larger IoU, one goes.
    """
    columns = output[:, output[4:-PROTOTYPES].max(axis=0) > confidence].T
    centres, sides = columns[:, :2], columns[:, 2:4]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    classes, scores = columns[:, 4:-PROTOTYPES].argmax(axis=1), columns[:, 4:-PROTOTYPES].max(axis=1)
    kept = nms(boxes + LARGEST * classes[:, None], scores, same)
    logits = np.tensordot(columns[kept, -PROTOTYPES:], prototypes, 1).astype(np.float32)
    in_photo = place.boxes_to_photo(boxes[kept])
    parts = [place.mask_in_photo(*one) for one in zip(logits, in_photo, strict=True)]
    found = [i for i, (mask, _, _) in enumerate(parts) if mask.any()]
    rle = [encode_at(*parts[i], place.height, place.width) for i in found]
    return Detections(in_photo[found], scores[kept][found], classes[kept][found], rle)


class FastSAM:
    """A FastSAM or YOLOv8-seg network.

    path: the ONNX file. confidence, same: as `decode` has them; the defaults are those of FastSAM's own program.
    threads: CPU threads; all cores of this process when not given.
    Raises ModelError when the file cannot be read, or is another network.
    """

    def __init__(
        self, path: str | Path, confidence: float = 0.4, same: float = 0.9, threads: int | None = None
    ) -> None:
        self.path, self.confidence, self.same = Path(path), confidence, same
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        if not self.path.is_file():
            raise ModelError(f"{path}: there is no such file; {REMEDY}")
        try:
            self._session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no class of its own for this
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path}: cannot be read as ONNX ({reason}); {REMEDY}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if (
            len(inputs) != 1
            or len(inputs[0].shape) != 4
            or sorted(len(one.shape) for one in outputs) != [3, 4]
        ):
            raise ModelError(f"{path}: is no segmentation model of YOLOv8's form; {REMEDY}")
        self._input, self._half = inputs[0].name, "float16" in inputs[0].type
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._side = _side(inputs[0].shape[2:], metadata.get("imgsz", ""))
        self._names = _names(metadata.get("names", ""))

    def everything(self, image: NDArray[np.uint8], file_name: str = "photo") -> LabelledPhoto:
        """All objects of a photo uint8 (H, W, 3) RGB, the most confident first, with their classes and scores.

        Raises ModelError when the network gives something else than YOLOv8-seg does.
        """
        place = Letterbox(image.shape[0], image.shape[1], self._side)
        tensor = place.input(image)[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
        try:
            values = self._session.run(
                None, {self._input: tensor.astype(np.float16 if self._half else np.float32)}
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{self.path}: cannot be run ({reason}); {REMEDY}") from error
        output, prototypes = (one[0].astype(np.float32) for one in sorted(values, key=np.ndim))
        if len(prototypes) != PROTOTYPES or len(output) <= 4 + PROTOTYPES:
            shapes = " and ".join(str(one.shape) for one in values)
            raise ModelError(
                f"{self.path}: gives {shapes}, not (1, 4 + classes + 32, A) and 32 prototypes; {REMEDY}"
            )
        found = decode(output, prototypes, place, self.confidence, self.same)
        objects = tuple(
            LabelledObject(rle, self._names.get(number, DEFAULT_NAME), round(float(score), 4))
            for rle, number, score in zip(found.rle, found.classes.tolist(), found.scores, strict=True)
        )
        return LabelledPhoto(file_name, image.shape[:2], objects, image)


def _side(declared: list[int | str | None], trained: str) -> tuple[int, int]:
    """(H, W) of the input: as the graph declares it or, where it takes any, as its metadata says."""
    known = _literal(trained)
    sides = known if isinstance(known, list | tuple) and len(known) == 2 else (DYNAMIC_SIDE,) * 2
    height, width = (
        one if isinstance(one, int) else int(other) for one, other in zip(declared, sides, strict=True)
    )
    return height, width


def _names(text: str) -> dict[int, str]:
    """The classes that the metadata names, by number."""
    known = _literal(text)
    return {int(number): str(name) for number, name in known.items()} if isinstance(known, dict) else {}


def _literal(text: str) -> object:
    """What the metadata writes as a Python value; None for something else."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
