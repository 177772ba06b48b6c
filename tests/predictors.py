"""Predictors whose score is known, always right and never right. They are engines, so all else is real."""

import cv2
import numpy as np

from pocketsam.config import ModelConfig
from pocketsam.engines import EngineInfo, Prediction
from shards import STEP

SIDE = 64
"""Pixels a side of photos on which `PerfectEngine` is exact: its logits have as many cells."""

BLUR = 0.875 * np.eye(SIDE) + 0.0625 * (np.eye(SIDE, k=1) + np.eye(SIDE, k=-1))
BLUR[0, 0] = BLUR[-1, -1] = 0.9375
UNBLUR = np.linalg.inv(BLUR)
"""What enlarging four times mixes into the middle of a pixel from its neighbours along one axis, and the way back."""


class OneStep:
    """An engine that decodes in one step, as one in two: it decodes masks with the predicted IoU, and keeps them."""

    info = EngineInfo("test", threads=2)

    def prepare(self, embedding, mask_input=None):
        return embedding, mask_input

    def predict_iou(self, prepared, points, labels, sparse_embeddings=None):
        embedding, mask_input = prepared
        side = self.config.mask_size
        masks = np.zeros((len(points), 1, side, side), np.float32)
        if mask_input is not None:
            masks[:] = mask_input
        has_mask = np.full(len(points), mask_input is not None, np.float32)
        logits, predicted_iou = self.decode(embedding, points, labels, masks, has_mask)
        return Prediction(predicted_iou, logits)

    def decode_masks(self, prediction, objects):
        return prediction.mask_inputs[np.asarray(objects, int)]


class PerfectEngine(OneStep):
    """Reads the answer off a drawn photo: all pixels of the grey that the prompt is on, or whose box it is.

    The embedding is the map of greys. Exact for photos of SIDE × SIDE pixels, drawn by `shards.paint`.
    """

    config = ModelConfig("perfect", image_size=4 * SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def __init__(self):
        self.encoded = 0
        self.decoded = []

    def encode(self, image):
        self.encoded += 1
        middles = image[0, 0].reshape(SIDE, 4, SIDE, 4)[:, 1:3, :, 1:3].mean(axis=(1, 3))
        objects = np.rint(UNBLUR @ middles @ UNBLUR.T / STEP)
        return np.broadcast_to(objects.astype(np.float32), (1, 256, SIDE, SIDE))

    def decode(self, embedding, points, labels, mask_input, has_mask):
        self.decoded.append(points)
        objects = embedding[0, 0]
        inside = np.stack([self.answer(objects, *prompt) for prompt in zip(points / 4, labels, strict=True)])
        logits = np.where(inside, 10, -10).astype(np.float32)
        return np.repeat(logits[:, None], 4, axis=1), np.full((len(points), 4), 0.99, np.float32)

    def answer(self, objects, points, labels):
        """The mask (SIDE, SIDE) for one object's tokens, in cells."""
        if (labels == 2).any():
            return objects == self.grey_in_box(objects, points[labels == 2][0], points[labels == 3][0])
        x, y = points[labels == 1][0].astype(int)
        return (objects == objects[y, x]) & (objects[y, x] > 0)

    def grey_in_box(self, objects, start, end):
        """The grey whose box is closest to this one."""

        def distance(grey):
            rows, columns = np.nonzero(objects == grey)
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            return abs(np.array(box) - [*start, *end]).sum()

        return min((grey for grey in np.unique(objects) if grey), key=distance)


class BrightEngine(OneStep):
    """All that is not black, as far as 32 × 32 cells show it, whatever the prompt: a model of low resolution."""

    config = ModelConfig("bright", image_size=128, resize="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def __init__(self):
        self.encoded = 0
        self.prompts = []

    def encode(self, image):
        self.encoded += 1
        cells = cv2.resize(image[0, 0], (32, 32), interpolation=cv2.INTER_AREA)
        return np.resize(cells - STEP / 2, (1, 256, 8, 8)).astype(np.float32)  # the cells, several times over

    def decode(self, embedding, points, labels, mask_input, has_mask):
        self.prompts.append((points, labels, mask_input))
        cells = embedding.ravel()[: 32 * 32].reshape(32, 32)
        return np.tile(20 * cells / STEP, (len(points), 4, 1, 1)), np.tile(
            np.float32([0.5, 0.7, 0.9, 0.8]), (len(points), 1)
        )


class EmptyEngine(PerfectEngine):
    """Never finds anything."""

    def answer(self, objects, points, labels):
        return np.zeros_like(objects, bool)
