"""YOLO networks in ONNX, as the programs that train YOLOv8, YOLO-World and FastSAM export them.

photo → letterbox → network → a column for each of A places: a box, and a score for each class

The classes' names are in the file's metadata. What a network gives besides, such as masks, its users read themselves.
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
from pocketsam.utils.boxes import nms

Floats = NDArray[np.float32]

PAD = 114
"""The grey around the photo."""
LARGEST = 7680
"""Boxes of different classes are moved apart by this many pixels, so that NMS compares only those of one class."""


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


class YoloNetwork:
    """A network of YOLO's form.

    path: the ONNX file. ranks: of its outputs, such as [3] for boxes. kind, remedy: for messages; what it should be,
    and what to give instead. threads: CPU threads; all cores of this process when not given. dynamic_side: pixels a
    side of the input of a network that takes any size and does not say which it was trained on.
    Raises ModelError when the file cannot be read, or is another network.
    """

    def __init__(
        self,
        path: str | Path,
        ranks: list[int],
        kind: str,
        remedy: str,
        threads: int | None = None,
        dynamic_side: int = 640,
    ) -> None:
        self.path, self.remedy = Path(path), remedy
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        if not self.path.is_file():
            raise ModelError(f"{path}: there is no such file; {remedy}")
        try:
            self._session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no class of its own for this
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path}: cannot be read as ONNX ({reason}); {remedy}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        found = sorted(len(one.shape) for one in outputs)
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or found != ranks:
            raise ModelError(f"{path}: is no {kind}; {remedy}")
        self._input, self._half = inputs[0].name, "float16" in inputs[0].type
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.side = _side(inputs[0].shape[2:], metadata.get("imgsz", ""), dynamic_side)
        self.names = _names(metadata.get("names", ""))

    def run(self, image: NDArray[np.uint8]) -> tuple[Letterbox, list[Floats]]:
        """Where a photo uint8 (H, W, 3) RGB lies in the input, and the outputs without batch axis, fewest axes first.

        Raises ModelError when the network does not run.
        """
        place = Letterbox(image.shape[0], image.shape[1], self.side)
        tensor = place.input(image)[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
        try:
            values = self._session.run(
                None, {self._input: tensor.astype(np.float16 if self._half else np.float32)}
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{self.path}: cannot be run ({reason}); {self.remedy}") from error
        return place, [one[0].astype(np.float32) for one in sorted(values, key=np.ndim)]


@dataclass(frozen=True, eq=False)
class Columns:
    """N places of a network's output, the most confident first.

    boxes: (N, 4) XYXY in pixels of the input. scores, classes: (N,). rest: (N, R), what follows the classes' scores.
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]
    rest: Floats


def select(output: Floats, confidence: float, same: float, rest: int = 0) -> Columns:
    """The objects among the columns of an output (4 + classes + rest, A).

    confidence: the least score of an object. same: of two boxes of one class with a larger IoU, one goes.
    """
    end = len(output) - rest
    columns = output[:, output[4:end].max(axis=0) > confidence].T
    centres, sides = columns[:, :2], columns[:, 2:4]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    classes, scores = columns[:, 4:end].argmax(axis=1), columns[:, 4:end].max(axis=1)
    kept = nms(boxes + LARGEST * classes[:, None], scores, same)
    return Columns(boxes[kept], scores[kept], classes[kept], columns[kept, end:])


def _side(declared: list[int | str | None], trained: str, dynamic_side: int) -> tuple[int, int]:
    """(H, W) of the input: as the graph declares it or, where it takes any, as its metadata says."""
    known = _literal(trained)
    sides = known if isinstance(known, list | tuple) and len(known) == 2 else (dynamic_side,) * 2
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
