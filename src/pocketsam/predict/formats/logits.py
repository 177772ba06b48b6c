"""Low-resolution logits, as numpy saves arrays: later, --mask or `mask_input` can start from them."""

from io import BytesIO

import numpy as np

from pocketsam.predict.formats.result import Result


def encode(result: Result, suffix: str) -> list[bytes]:
    """.npy holds the logits (N, h, w) alone; .npz `logits`, `predicted_iou`, `objects`, `names` and `empty`."""
    logits = result.logits
    assert logits is not None, "`save` offers this format only where there are logits"
    file = BytesIO()
    if suffix == ".npy":
        np.save(file, logits)
        return [file.getvalue()]
    np.savez_compressed(
        file,
        logits=logits,
        predicted_iou=result.predicted_iou,
        objects=np.array([details["object"] for details in result.details()], np.intp),
        names=np.array(result.names, np.str_),
        empty=result.empty,
    )
    return [file.getvalue()]
