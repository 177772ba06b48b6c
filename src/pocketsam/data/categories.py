"""Photos whose masks have classes: the categories of a COCO JSON, or the values of label maps.

Classes count from 0 in the order of the categories, or in that of the classes that a model knows.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketsam.data.coco import CROWD, CocoSet
from pocketsam.data.datasets import open_dataset
from pocketsam.data.label_maps import LabelMaps
from pocketsam.data.sample import Sample
from pocketsam.errors import DataError
from pocketsam.utils.rle import areas, decode_box

BACKGROUND = "background"
"""The class of the pixels that no mask covers, where they are one."""
IGNORED = 255
"""In a map of classes: not labelled."""


class CategorySet:
    """The photos of a COCO JSON or of a folder of label maps, with the class of each mask.

    Args:
        paths: one JSON or folder, see `open_dataset`.
        photos: the folder of a JSON's photos.
        classes: the classes that a model knows, to which all categories must belong. If not given: the categories.
        background: whether the pixels of no category are a class, which then is the first one.
        leave_out: annotations at fault are left out; otherwise they stop whoever reads them.

    data: the reader. classes: the names of the classes. Raises DataError where a category has no name or is not one
    of the classes, or an annotation is at fault and not to be left out.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        photos: str | Path | None = None,
        classes: Sequence[str] | None = None,
        leave_out: bool = False,
        background: bool = False,
    ) -> None:
        data = open_dataset(paths, photos)
        if not isinstance(data, CocoSet | LabelMaps):
            raise DataError(
                f"{paths[0]}: its masks have no classes; give a COCO JSON or a folder of label maps"
            )
        self.data, self.leave_out = data, leave_out
        names = {one["id"]: str(one.get("name", one["id"])) for one in data.categories}
        own = ((BACKGROUND,) if background else ()) + tuple(names.values())
        self.classes = own if classes is None else tuple(classes)
        unknown = [name for name in names.values() if name not in self.classes]
        if unknown:
            raise DataError(
                f"{paths[0]}: the category {unknown[0]} is none of the model's {len(self.classes)} classes"
            )
        self.class_of = {id: self.classes.index(name) for id, name in names.items()}
        self._faults = data.faults() if isinstance(data, CocoSet) else {}
        if self._faults and not leave_out:
            raise _fault(list(self._faults.values()))

    def __len__(self) -> int:
        return len(self.data)

    def read(self, i: int) -> Sample:
        """Sample number i, whose `categories` are the numbers of classes. Raises DataError, see above."""
        sample = self.data.read(i).promptable()
        at_fault = [line for line in sample.left_out if not line.endswith(CROWD)]
        if at_fault and not self.leave_out:
            raise _fault(at_fault)
        kept = [k for k, number in enumerate(sample.ids) if number not in self._faults]
        strays = [sample.categories[k] for k in kept if sample.categories[k] not in self.class_of]
        if strays:
            raise DataError(
                f"{sample.location}: the value {strays[0]} has no name; add it to the list of classes"
            )
        return replace(
            sample,
            rles=[sample.rles[k] for k in kept],
            ids=[sample.ids[k] for k in kept],
            categories=[self.class_of[sample.categories[k]] for k in kept],
            left_out=(*sample.left_out, *(self._faults[id] for id in sample.ids if id in self._faults)),
        )

    def mask_count(self, i: int) -> int:
        """See `Dataset.mask_count`."""
        return self.data.mask_count(i)


def class_map(sample: Sample, background: int) -> NDArray[np.uint8]:
    """The class of each pixel of a photo (H, W), or `background`; small masks lie above large ones."""
    classes = np.full(sample.image.shape[:2], background, np.uint8)
    for i in np.argsort(-areas(sample.rles), kind="stable"):
        mask, x0, y0 = decode_box(sample.rles[i])
        classes[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]][mask] = sample.categories[i]
    return classes


def _fault(lines: Sequence[str]) -> DataError:
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return DataError(f"{lines[0]}{more}; mend it, or set leave_out: true in the recipe")
