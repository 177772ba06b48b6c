"""What the jobs that find masks share: the encoder in one stage, and a `Photo` with its embedding in the other."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketsam.automatic.proposals import Proposals
from pocketsam.predict.embedding import Embedding
from pocketsam.predict.formats.coco import coco_image
from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.predict.masks import Masks
from pocketsam.scale.job import Files
from pocketsam.scale.shards import StoredPhoto
from pocketsam.segmenter import Photo, Segmenter
from pocketsam.utils.running import Running


@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """A photo uint8 (H, W, 3) RGB and its embedding (1, C, g, g), which go from one process to another."""

    file_name: str
    image: NDArray[np.uint8]
    embedding: NDArray[np.float32]


class MaskStages:
    """The first stage, and what the second begins with. model, running: see `Segmenter`."""

    def __init__(self, model: str, running: Running) -> None:
        self._segmenter = Segmenter(model, **vars(running))

    def settings(self) -> dict[str, Any]:
        """The model, and how it is run; a job adds its own."""
        engine = self._segmenter.engine
        return {
            "model": asdict(engine.config),
            "engine": engine.info.name,
            "precision": engine.info.numerics,
        }

    def encode(self, photo: StoredPhoto) -> EncodedPhoto:
        """The photo, read and encoded. Raises as `Segmenter.open` does."""
        opened = self._segmenter.open(photo.content)
        assert opened.image is not None  # as the photo itself was opened
        return EncodedPhoto(photo.file_name, opened.image, opened.embedding)

    def shared_files(self) -> dict[str, bytes]:
        """None: each photo's masks are a file by themselves."""
        return {}

    def photo(self, encoded: EncodedPhoto) -> Photo:
        """What `Segmenter.open` gives, without running the encoder again."""
        engine, name = self._segmenter.engine, encoded.file_name
        height, width = encoded.image.shape[:2]
        saved = Embedding(encoded.embedding, height, width, name, "", engine.config)
        return Photo(engine, encoded.image, name, saved, self._segmenter.batch)


def annotation_file(found: Masks | Proposals, file_name: str) -> Files:
    """NAME.json of a photo's masks, in SA-1B's layout, with the class of each that has one."""
    masks = [
        {"id": number, **annotation, **({} if name == DEFAULT_NAME else {"category": name})}
        for number, (annotation, name) in enumerate(
            zip(found.coco_annotations(), found.names, strict=True), 1
        )
    ]
    image = coco_image(1, file_name.rpartition("/")[2], found.size)
    document = json.dumps({"image": image, "annotations": masks}).encode()
    return Files(((f"{file_name.rpartition('.')[0]}.json", document),), len(masks))
