"""Candidates: the four masks that the decoder gives for each prompt, and the rules by which one is chosen.

SAM calls masks 1 to 3 its multimask output. A click may mean a whole object, a part, or a part of that: a mask each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketsam.config import ModelConfig
from pocketsam.predict.corrections import choose_correction, keep_elsewhere
from pocketsam.predict.geometry import Geometry
from pocketsam.predict.masks import Masks
from pocketsam.predict.prompts import Prompts


@dataclass(frozen=True, eq=False)
class Candidates:
    """All four masks of N prompts: mask 0, for prompts that mean one thing, and masks 1 to 3, the multimask output.

    logits: (N, 4, h, w) float32. predicted_iou: (N, 4) float32.
    prompts, geometry, config: the prompts, the photo's pixels against the model's, and the model.
    image, file_name: the photo's.
    """

    logits: NDArray[np.float32]
    predicted_iou: NDArray[np.float32]
    prompts: Prompts
    geometry: Geometry
    config: ModelConfig
    image: NDArray[np.uint8] | None = None
    file_name: str = "photo"

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, objects: slice) -> "Candidates":
        """Those of some of the prompts."""
        logits, predicted_iou = self.logits[objects], self.predicted_iou[objects]
        return replace(self, logits=logits, predicted_iou=predicted_iou, prompts=self.prompts[objects])

    def __repr__(self) -> str:
        size = f"{self.geometry.width} × {self.geometry.height}"
        return f"Candidates({len(self)} × 4 masks of {self.file_name}, {size})"

    def best(self) -> Masks:
        """The N masks that a user gets: SAM's rule, see `choose`; for corrections those of `corrections.py`, where
        the model's config says so."""
        which = choose(self.predicted_iou, self.prompts.ambiguous, self.config)
        if not self.config.correction_masks or self.prompts.mask_input is None:
            return self.take(which[:, None])
        corrections = np.flatnonzero(self.prompts.corrections).tolist()
        for i in corrections:
            which[i] = self._correction(i)
        masks = self.take(which[:, None])
        for i in corrections:
            masks.logits[i] = keep_elsewhere(masks.logits[i], *self._clicks(i), self.prompts.mask_input[i])
        return masks

    def _correction(self, i: int) -> int:
        """The mask that `choose_correction` takes for object i."""
        assert self.prompts.mask_input is not None
        allowed = np.array(self.config.correction_masks, np.intp)
        logits, predicted_iou = self.logits[i, allowed], self.predicted_iou[i, allowed]
        chosen = choose_correction(logits, predicted_iou, *self._clicks(i), self.prompts.mask_input[i])
        return int(allowed[chosen])

    def _clicks(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """The points of object i, (P, 2) in cells of the logits, and their labels (P,)."""
        return self.geometry.to_cells(self.prompts.points[i]), self.prompts.labels[i]

    def ranked(self) -> Masks:
        """The multimask output: the three most confident masks of each prompt, 3 N masks, best first."""
        return self.take(rank(self.predicted_iou, self.config.click_masks))

    def take(self, which: ArrayLike) -> Masks:
        """The masks numbered `which`, (N, K) from 0 to 3, as N K masks, object by object."""
        chosen = np.asarray(which, np.intp).reshape(len(self), -1)
        objects = np.repeat(np.arange(len(self)), chosen.shape[1])
        flat = objects, chosen.ravel()
        return Masks(
            logits=self.logits[flat],
            predicted_iou=self.predicted_iou[flat],
            geometry=self.geometry,
            image=self.image,
            file_name=self.file_name,
            objects=objects,
            prompts=self.prompts,
            smallest_region=self.config.min_mask_region_cells,
            box_margin=self.config.box_margin,
        )


def choose(
    predicted_iou: NDArray[np.float32], ambiguous: NDArray[np.bool_], config: ModelConfig
) -> NDArray[np.intp]:
    """SAM's rule for one mask an object: which of the four, (N,), given predicted IoU (N, 4), ambiguous (N,).

    The most confident of the masks that the prompt may mean: `click_masks` for a single click, which is
    ambiguous, and `prompt_masks`, in SAM mask 0 alone, for anything else.
    """
    clicks, others = np.array(config.click_masks), np.array(config.prompt_masks)
    best_of_clicks = clicks[predicted_iou[:, clicks].argmax(axis=1)]
    best_of_others = others[predicted_iou[:, others].argmax(axis=1)]
    return np.asarray(np.where(ambiguous, best_of_clicks, best_of_others))


def rank(predicted_iou: NDArray[np.float32], click_masks: Sequence[int]) -> NDArray[np.intp]:
    """The three most confident of `click_masks` for each object, (N, 3), best first; predicted IoU (N, 4)."""
    allowed = np.array(click_masks)
    return np.asarray(allowed[np.argsort(-predicted_iou[:, allowed], axis=1, kind="stable")][:, :3])
