"""How a model is run, as commands and jobs say it."""

from dataclasses import dataclass, field

from pocketsam.utils.options import option

MODEL = option(str, "A model's name, its folder, or a checkpoint file.", metavar="MODEL")
"""The metadata of a field that is the model to work with."""

_PRECISION = option(
    str,
    "The precision of the arithmetic: float32, bfloat16, float16 or int8; auto is int8 where model and processor have"
    " it, else float32.",
    metavar="PRECISION",
)


@dataclass(frozen=True)
class Running:
    """How a model is run: the arguments of `Segmenter`, as commands offer them."""

    engine: str = field(
        default="auto",
        metadata=option(
            str,
            "auto, fake-quant, onnx, openvino or torch; auto is the fastest that is installed.",
            metavar="ENGINE",
        ),
    )
    device: str = field(
        default="auto",
        metadata=option(str, "auto, cpu, cuda (or cuda:1 and so on) or mps.", metavar="DEVICE"),
    )
    precision: str = field(default="auto", metadata=_PRECISION)
    threads: int | None = field(
        default=None,
        metadata=option(int, "CPU threads; all cores, if not given.", metavar="N", minimum=1),
    )


@dataclass(frozen=True)
class ExactRunning(Running):
    """The same, in float32 where nothing else is said: every processor gives the same numbers, to rounding."""

    precision: str = field(default="float32", metadata=_PRECISION)
