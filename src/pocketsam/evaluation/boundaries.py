"""Boundaries against boundaries, as the benchmark of BSDS500 counts them (Arbeláez et al., TPAMI 2011, section 3).

Pixels of a predicted boundary are assigned to pixels of the ground truth, one to one, that are at most 0.75 % of the
image's diagonal away. With several annotators, a predicted pixel is right that any of them has; recall counts the
pixels of all.

The benchmark assigns at the least total distance, but lets no pixel go without a partner that could have one. It
counts only how many have one. So a maximum matching of the same pixels, which is found here, gives its counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.0075
"""As a fraction of the image's diagonal."""
TINY = 1e-12

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """Pixels at one threshold. found: of the prediction; right: those of them that are on a boundary of anyone.

    true: of all annotators' boundaries; recalled: those of them that were found.
    """

    found: int
    right: int
    true: int
    recalled: int

    def __add__(self, other: "Counts") -> "Counts":
        mine, theirs = vars(self).values(), vars(other).values()
        return Counts(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def precision(self) -> float:
        """1 where nothing was found."""
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.recalled / self.true if self.true else 1.0

    @property
    def f(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, TINY)


def count(edges: NDArray[np.float32], truths: Sequence[Mask], thresholds: Sequence[float]) -> list[Counts]:
    """The counts of a thin edge map (H, W) at each threshold. truths: each annotator's boundaries (H, W)."""
    found = []
    for threshold in thresholds:
        predicted = edges >= threshold
        right, recalled = np.zeros_like(predicted), 0
        for truth in truths:
            hits, of_truth = match(predicted, truth)
            right |= hits
            recalled += int(np.count_nonzero(of_truth))
        true = sum(int(np.count_nonzero(truth)) for truth in truths)
        found.append(Counts(int(predicted.sum()), int(right.sum()), true, recalled))
    return found


def match(predicted: Mask, truth: Mask, tolerance: float = TOLERANCE) -> tuple[Mask, Mask]:
    """The pixels of two boundaries (H, W) that can be assigned to each other, one to one: those of each."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import cKDTree

    # Rows are those of which there are fewer: with more of them than columns, the search may take hours.
    if np.count_nonzero(predicted) > np.count_nonzero(truth):
        recalled, right = match(truth, predicted, tolerance)
        return right, recalled
    of_prediction, of_truth = np.argwhere(predicted), np.argwhere(truth)
    hits = np.zeros_like(predicted), np.zeros_like(truth)
    if not len(of_prediction) or not len(of_truth):
        return hits
    distance = tolerance * float(np.hypot(*predicted.shape))
    near = cKDTree(of_prediction).query_ball_tree(cKDTree(of_truth), distance + 1e-9)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in near])])
    columns = np.fromiter((j for one in near for j in one), np.int32, starts[-1])
    graph = csr_matrix(
        (np.ones(len(columns), np.bool_), columns, starts), (len(of_prediction), len(of_truth))
    )
    partners = maximum_bipartite_matching(graph, perm_type="column")
    rows = np.flatnonzero(partners >= 0)
    hits[0][tuple(of_prediction[rows].T)] = True
    hits[1][tuple(of_truth[partners[rows]].T)] = True
    return hits


def optimal_f(photos: Sequence[Sequence[Counts]]) -> tuple[float, int]:
    """ODS: the largest F of all images together at one threshold, and the number of that threshold."""
    totals = total(photos)
    best = max(range(len(totals)), key=lambda i: totals[i].f)
    return totals[best].f, best


def optimal_f_by_image(photos: Sequence[Sequence[Counts]]) -> float:
    """OIS: the F of all images together, each at the threshold that is best for it."""
    chosen = [max(counts, key=lambda one: one.f) for counts in photos]
    return sum(chosen, Counts(0, 0, 0, 0)).f


def average_precision(photos: Sequence[Sequence[Counts]]) -> float:
    """The mean of the precision over the recalls 0, 0.01 … 1 of all images together; 0 beyond the largest recall."""
    curve = sorted((one.recall, one.precision) for one in total(photos) if one.found)
    if not curve:
        return 0.0
    recalls, precisions = np.array(curve).T
    levels = np.arange(101) / 100
    found = np.interp(levels, recalls, precisions, left=precisions[0], right=0.0)
    return float(found.mean())


def total(photos: Sequence[Sequence[Counts]]) -> list[Counts]:
    """The counts of all images together, at each threshold."""
    return [sum(column, Counts(0, 0, 0, 0)) for column in zip(*photos, strict=True)]


def outlines(regions: Sequence[Mask]) -> Mask:
    """The boundaries between the regions (H, W) of a partition, one pixel wide: where the next pixel is another's.

    As the benchmark's `seg2bmap`: next on the right, below, or both. What belongs to no region is a region.
    """
    numbers = np.zeros(regions[0].shape, np.int64)
    for number, region in enumerate(regions, 1):
        numbers[region] = number
    framed = np.pad(numbers, ((0, 1), (0, 1)), mode="edge")
    right, below, both = framed[:-1, 1:], framed[1:, :-1], framed[1:, 1:]
    return np.asarray((numbers != right) | (numbers != below) | (numbers != both))


def partitions(masks: Sequence[Mask]) -> list[list[Mask]]:
    """The regions of each annotator, where masks come annotator after annotator: one begins where masks overlap."""
    found: list[list[Mask]] = []
    taken = None
    for mask in masks:
        if taken is None or np.count_nonzero(taken & mask) > 0.5 * np.count_nonzero(mask):
            found.append([])
            taken = np.zeros_like(mask)
        found[-1].append(mask)
        taken = taken | mask
    return found
