"""A job for tests of `scale`: no model, and photos that misbehave by their names."""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pocketsam.evaluation.protocols.clicks import Clicks
from pocketsam.predict.image import load_image
from pocketsam.scale.job import Files, Job
from pocketsam.scale.shards import StoredPhoto
from shards import jpeg, write_tar


@dataclass(frozen=True)
class Greys(Job):
    """Finds one mask in each photo: its name and its mean grey.

    marks: a folder in which it is noted that a photo ended a process. seconds: that each photo takes.
    A photo called die-NAME ends its first process, poison-NAME every process, slow-NAME takes long;
    -encode or -decode in the name says in which stage.
    """

    name: ClassVar[str] = "greys"
    marks: str = ""
    seconds: float = 0.0

    def open(self) -> "_Stages":
        return _Stages(self)


class _Stages:
    def __init__(self, job: Greys) -> None:
        self.job = job

    def settings(self) -> dict[str, Any]:
        return {"greys": 1, "model": self.job.model}

    def shared_files(self) -> dict[str, bytes]:
        return {}

    def encode(self, photo: StoredPhoto) -> tuple[str, np.ndarray]:
        self._misbehave(photo.file_name, "encode")
        return photo.file_name, load_image(photo.content)

    def decode(self, encoded: tuple[str, np.ndarray]) -> Files:
        file_name, image = encoded
        self._misbehave(file_name, "decode")
        time.sleep(self.job.seconds)
        height, width = image.shape[:2]
        mask = {
            "segmentation": {"size": [height, width], "counts": "0"},
            "bbox": [0.0, 0.0, float(width), float(height)],
            "area": height * width,
            "predicted_iou": float(image.mean()),
        }
        image = {"file_name": file_name, "height": height, "width": width}
        document = json.dumps({"image": image, "annotations": [mask]}).encode()
        return Files(((f"{file_name.rpartition('.')[0]}.json", document),), 1)

    def _misbehave(self, file_name: str, stage: str) -> None:
        if stage not in file_name:
            return
        mark = Path(self.job.marks, file_name)
        if file_name.startswith("poison") or (file_name.startswith("die") and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if file_name.startswith("stop") and not mark.exists():
            mark.touch()
            raise KeyboardInterrupt


@dataclass(frozen=True)
class DeadlyClicks(Clicks):
    """Ends the process at image 3."""

    name: ClassVar[str] = "deadly"

    def measure(self, segmenter, sample, photo):
        if photo == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(segmenter, sample, photo)


def write_photos(path: Path, names: Sequence[str]) -> Path:
    """A tar shard of drawn photos with these names, each of a grey of its own; "broken…" holds no photo."""
    files = []
    for number, name in enumerate(names):
        photo = jpeg(np.full((8, 10, 3), 7 * number % 256, np.uint8))
        files.append((f"{name}.jpg", b"no photo" if name.startswith("broken") else photo))
    return write_tar(path, files)


def published(folder: Path) -> dict[str, bytes]:
    """The files of results, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
