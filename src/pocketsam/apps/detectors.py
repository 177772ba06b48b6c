"""Open-vocabulary detectors: where in a photo is "red car"? One small protocol, and a class for each kind.

    NAME or FOLDER   a zero-shot detector of transformers: Grounding DINO, OWL-ViT, OWLv2
    FILE.onnx        a YOLO-World or other YOLO network, which knows the names that it was exported with
    FILE.json        boxes that any other detector has found before: {"photo.jpg": [{"name", "score", "box"}, …]}

A new kind is a class here and a line in `open_detector`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.yolo import YoloNetwork, select
from pocketsam.errors import InputError, ModelError
from pocketsam.utils.install import importing


@dataclass(frozen=True)
class Found:
    """An object: its name, the detector's score from 0 to 1, and its box x0, y0, x1, y1 in pixels of the photo."""

    name: str
    score: float
    box: tuple[float, float, float, float]


class Detector(Protocol):
    """Finds objects by their names."""

    def detect(self, image: NDArray[np.uint8], names: Sequence[str], file_name: str) -> list[Found]:
        """What of these names is in a photo uint8 (H, W, 3) RGB, in any order. file_name: its name or path."""
        ...


def open_detector(detector: str) -> Detector:
    """The detector of this name, folder or file. Raises as the classes do."""
    path = Path(detector)
    if path.suffix == ".json":
        return RecordedBoxes(path)
    return YoloDetector(path) if path.suffix == ".onnx" else TransformersDetector(detector)


class RecordedBoxes:
    """The boxes of a file, which another detector found, of each photo by its path or its file name.

    Raises InputError when it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            photos = json.loads(path.read_text())
            self._found = {str(name): [_read(one) for one in objects] for name, objects in photos.items()}
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            form = '{"photo.jpg": [{"name": "cap", "score": 0.9, "box": [20, 40, 300, 280]}]}'
            raise InputError(f"{path}: holds no boxes ({error}); write them as {form}") from error

    def detect(self, image: NDArray[np.uint8], names: Sequence[str], file_name: str) -> list[Found]:
        found = self._found.get(file_name) or self._found.get(Path(file_name).name, [])
        return [one for one in found if one.name in names]


def _read(entry: Mapping[str, Any]) -> Found:
    x0, y0, x1, y1 = map(float, entry["box"])
    return Found(str(entry["name"]), float(entry["score"]), (x0, y0, x1, y1))


class YoloDetector:
    """A YOLO network in ONNX. The names that it finds were chosen when it was exported (YOLO-World's `set_classes`).

    Raises ModelError when the file cannot be read, or is another network.
    """

    remedy = "give a YOLO-World or YOLOv8 detector that was exported to ONNX without NMS inside"
    confidence, same = 0.01, 0.7
    """The least score, below which nobody's threshold is; of two boxes of one name with a larger IoU, one goes."""

    def __init__(self, path: Path) -> None:
        self._network = YoloNetwork(path, [3], "detector of YOLO's form", self.remedy)
        if not self._network.names:
            raise ModelError(f"{path}: does not say which names it finds; {self.remedy}")

    def detect(self, image: NDArray[np.uint8], names: Sequence[str], file_name: str) -> list[Found]:
        """Raises InputError for a name that the network was not exported with."""
        asked = {name.lower(): name for name in names}
        known = {number: name.lower() for number, name in self._network.names.items()}
        unknown = [asked[name] for name in asked.keys() - set(known.values())]
        if unknown:
            listed = ", ".join(sorted(self._network.names.values())[:20])
            raise InputError(
                f"{self._network.path}: was not exported with the name {min(unknown)!r}; it finds {listed}"
            )
        place, (output,) = self._network.run(image)
        if len(output) != 4 + len(known):
            raise ModelError(
                f"{self._network.path}: gives {(1, *output.shape)}, not (1, 4 + {len(known)} names, A); {self.remedy}"
            )
        found = select(output, self.confidence, self.same)
        return [
            Found(asked[known[number]], float(score), (x0, y0, x1, y1))
            for number, score, (x0, y0, x1, y1) in zip(
                found.classes.tolist(), found.scores, place.boxes_to_photo(found.boxes).tolist(), strict=True
            )
            if known[number] in asked
        ]


class TransformersDetector:
    """A zero-shot detector of transformers, by its name on the Hugging Face hub or its folder; safetensors only.

    The names are searched one after the other, so that every box has one: a detector that reads all of them as one
    sentence could not tell which words a box belongs to. Boxes of names that score below the threshold are left out
    later. Raises InputError where transformers is not installed, ModelError for what cannot be opened.
    """

    def __init__(self, model: str) -> None:
        with importing("text", "--text"):
            import torch
            from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
        self._no_grad = torch.inference_mode
        try:
            self._processor: Any = AutoProcessor.from_pretrained(model)  # type: ignore[no-untyped-call]
            self._model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(
                model, use_safetensors=True
            )
        except Exception as error:  # transformers and its hub raise some twenty classes
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"{model}: cannot be opened as a detector ({reason}); give --detector the folder of a zero-shot"
                " detector with safetensors, or a name on the Hugging Face hub, which needs the network once"
            ) from error

    def detect(self, image: NDArray[np.uint8], names: Sequence[str], file_name: str) -> list[Found]:
        return [one for name in names for one in self._detect(image, name)]

    def _detect(self, image: NDArray[np.uint8], name: str) -> list[Found]:
        kind = self._model.config.model_type
        text = f"{name.lower()}." if kind == "grounding-dino" else [[name]]  # as each was trained
        inputs = self._processor(images=image, text=text, return_tensors="pt")
        with self._no_grad():
            outputs = self._model(**inputs)
        # (queries, words), of which padding is -inf; and (queries, 4) centres and sides, as fractions of the photo.
        logits = outputs.logits[0].double().numpy()
        scores = (1 / (1 + np.exp(-np.clip(logits, -50, 50)))).max(axis=1)
        boxes = outputs.pred_boxes[0].double().numpy()
        height, width = image.shape[:2]
        if kind == "owlv2":  # which gets a square with the photo in its upper left corner
            height = width = max(height, width)
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        corners *= [width, height, width, height]
        return [
            Found(name, float(score), (x0, y0, x1, y1))
            for score, (x0, y0, x1, y1) in zip(scores, corners.tolist(), strict=True)
        ]
