"""The one-file decoder: SAM's own export, ours of `SamOnnxModel`, and `pocketsam export segment-anything`, timed."""

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from common import small_checkpoint

sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("pocketsam")]
import segment_anything as published  # noqa: E402
from segment_anything.utils.onnx import SamOnnxModel as PublishedOnnxModel  # noqa: E402

from pocketsam.compat import build_sam  # noqa: E402
from pocketsam.compat.utils.onnx import SamOnnxModel  # noqa: E402
from pocketsam.engines.source import onnx_folder  # noqa: E402
from pocketsam.export.segment_anything import export_segment_anything  # noqa: E402

NAMES = ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]
OUTPUTS = ["masks", "iou_predictions", "low_res_masks"]
REPEATS = 7


def prompt(points: list[list[float]], labels: list[int], mask: bool = False) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = (
        random.normal(size=(1, 256, 64, 64)),
        [points],
        [labels],
        random.normal(size=(1, 1, 256, 256)),
        [float(mask)],
        (684.0, 1024.0),
    )
    return {name: np.asarray(array, np.float32) for name, array in zip(NAMES, arrays, strict=True)}


PROMPTS = {
    "a click": prompt([[500, 400], [0, 0]], [1, -1]),
    "two clicks": prompt([[500, 400], [300, 200], [0, 0]], [1, 0, -1]),
    "a click and a box": prompt([[500, 400], [200, 100], [800, 600]], [1, 2, 3]),
    "clicks and a mask": prompt([[500, 400], [300, 200], [0, 0]], [1, 1, -1], mask=True),
}


def export(model: torch.nn.Module, path: Path) -> None:
    example = {name: torch.from_numpy(array) for name, array in PROMPTS["two clicks"].items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(example.values()),
            path,
            input_names=NAMES,
            output_names=OUTPUTS,
            dynamic_axes={"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}},
            opset_version=17,
            dynamo=False,
        )


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = small_checkpoint(folder)
        ours = build_sam(checkpoint)
        theirs = published.modeling.Sam(
            ours.image_encoder,
            published.modeling.PromptEncoder(256, (64, 64), (1024, 1024), 16),
            published.modeling.MaskDecoder(
                transformer_dim=256, transformer=published.modeling.TwoWayTransformer(2, 256, 8, 2048)
            ),
        )
        theirs.load_state_dict(ours.state_dict())
        export(PublishedOnnxModel(theirs.eval(), True), folder / "theirs.onnx")
        export(SamOnnxModel(ours, True), folder / "ours.onnx")
        files = export_segment_anything(onnx_folder(checkpoint, None), folder / "exported")
        paths = {
            "SAM's own": folder / "theirs.onnx",
            "SamOnnxModel": folder / "ours.onnx",
            "export": files[1],
        }
        sessions = {who: session(path) for who, path in paths.items()}
        answers = {
            who: {name: one.run(OUTPUTS, given) for name, given in PROMPTS.items()}
            for who, one in sessions.items()
        }
        times = {who: [] for who in sessions}
        for _ in range(REPEATS):  # in turn; processor time of one thread, which other programs do not add to
            for who, one in sessions.items():
                start = time.process_time()
                one.run(OUTPUTS, PROMPTS["a click"])
                times[who].append(1000 * (time.process_time() - start))
    for who, found in answers.items():
        differences = [
            max(
                float(abs(a - b).max() / b.std()) if b.size > 1 else float(abs(a - b).max())
                for a, b in zip(found[name], answers["SAM's own"][name], strict=True)
            )
            for name in PROMPTS
        ]
        print(
            json.dumps(
                {"decoder": who, "difference": max(differences), "ms": round(float(np.median(times[who])), 1)}
            )
        )


if __name__ == "__main__":
    main()
