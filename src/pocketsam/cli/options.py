"""Options that several commands have: the photos, the model, and how it runs."""

from pathlib import Path
from typing import Annotated

import typer

Photos = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", metavar="PHOTO")]
Model = Annotated[str, typer.Option(help="A model's name, its folder, or a checkpoint file.")]
Engine = Annotated[
    str,
    typer.Option(help="auto, fake-quant, onnx, openvino or torch; auto is the fastest that is installed."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda (or cuda:1 and so on) or mps.")]
Precision = Annotated[
    str, typer.Option(help="The precision of the arithmetic: float32, bfloat16 or float16.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; all cores, if not given.", metavar="N")
]
