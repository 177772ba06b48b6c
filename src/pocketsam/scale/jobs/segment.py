"""Masks of prompts: NAME.json of each photo has the masks of its boxes and clicks, or of what a detector finds.

The prompts come from a file, by the photos' names; or from text, by a detector, which may be a file of boxes that
another detector has found.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pocketsam.apps.detectors import open_detector
from pocketsam.apps.text import TextPhoto, TextSegmenter
from pocketsam.apps.text_arguments import TextArguments
from pocketsam.errors import InputError
from pocketsam.predict.masks import Masks
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.predict.prompt_arguments import PromptArguments
from pocketsam.predict.prompt_files import read_prompts
from pocketsam.predict.result_arguments import ResultArguments
from pocketsam.scale.job import Files, Job
from pocketsam.scale.jobs.masks import EncodedPhoto, MaskStages, annotation_file


@dataclass(frozen=True)
class Segment(Job):
    """prompts: a file, see `read_prompts`, or None; then text: what to find, and by which detector.

    multimask, refine, zoom: as in `Photo.segment`.
    """

    name: ClassVar[str] = "segment"
    prompts: Path | None = None
    text: TextArguments = field(default_factory=TextArguments)
    multimask: bool = False
    refine: bool = False
    zoom: bool = False

    @classmethod
    def of(
        cls, args: PromptArguments, text: TextArguments, results: ResultArguments, **more: Any
    ) -> "Segment":
        """As a command line describes it. Raises InputError where it gives prompts of one photo, or none."""
        if args.objects() or args.mask is not None:
            raise InputError(
                "--point, --box and --mask are of one photo; for shards, give --prompts FILE or --text NAME"
            )
        if (args.prompts is None) == (not text.names()):
            raise InputError("shards need prompts: give either --prompts FILE or --text NAME")
        return cls(prompts=args.prompts, text=text, **results.options(), **more)

    def open(self) -> "_Stages":
        return _Stages(self)


class _Stages(MaskStages):
    def __init__(self, job: Segment) -> None:
        super().__init__(job.model, job.running)
        self._job = job
        self._prompts = read_prompts(job.prompts) if job.prompts is not None else {}
        self._detector = open_detector(job.text.detector) if job.prompts is None else None

    def settings(self) -> dict[str, Any]:
        job = self._job
        of_prompts: dict[str, Any] = {"prompts": _digest(job.prompts)}
        if job.prompts is None:
            detector = job.text.detector
            found_by = _digest(Path(detector)) if detector.endswith(".json") else detector
            of_prompts = {"text": job.text.names(), "detector": found_by, "min_score": job.text.min_score}
        return {**super().settings(), **of_prompts, **self._options()}

    def _options(self) -> dict[str, bool]:
        """Those of `Photo.segment`."""
        job = self._job
        return {"multimask": job.multimask, "refine": job.refine, "zoom": job.zoom}

    def decode(self, encoded: EncodedPhoto) -> Files:
        photo, options = self.photo(encoded), self._options()
        if self._detector is not None:
            names, least = self._job.text.names(), self._job.text.min_score
            found = TextPhoto(TextSegmenter(self._segmenter, self._detector, names, least), photo)
            masks = found.segment_objects([], **options)
        else:
            objects = _objects(self._prompts, encoded.file_name)
            whole = ObjectPrompt(box=(0, 0, photo.geometry.width, photo.geometry.height))
            masks = photo.segment_objects(objects or [whole], **options)[slice(None if objects else 0)]
        return annotation_file(_without_empty(masks), encoded.file_name)


def _objects(prompts: Mapping[str, Sequence[ObjectPrompt]], file_name: str) -> Sequence[ObjectPrompt]:
    """Those of a photo, which the file calls by its path in the shard, or by its name alone."""
    return prompts.get(file_name) or prompts.get(file_name.rpartition("/")[2]) or ()


def _without_empty(masks: Masks) -> Masks:
    return masks[~masks.empty]


def _digest(file: Path | None) -> str | None:
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
