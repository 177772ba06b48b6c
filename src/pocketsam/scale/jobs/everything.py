"""Everything mode: NAME.json of each photo has the masks of all objects in it."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from pocketsam.automatic.options import Options
from pocketsam.scale.job import Files, Job
from pocketsam.scale.jobs.masks import EncodedPhoto, MaskStages, annotation_file


@dataclass(frozen=True)
class Everything(Job):
    """options: of everything mode."""

    name: ClassVar[str] = "everything"
    options: Options = field(default_factory=Options)

    def open(self) -> "_Stages":
        return _Stages(self)


class _Stages(MaskStages):
    def __init__(self, job: Everything) -> None:
        super().__init__(job.model, job.running)
        self._options = job.options

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "options": asdict(self._options)}

    def decode(self, encoded: EncodedPhoto) -> Files:
        found = self.photo(encoded).everything(**vars(self._options))
        return annotation_file(found, encoded.file_name)
