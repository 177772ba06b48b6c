"""Options that several commands have: which photos, which model, and how it runs."""

from pathlib import Path
from typing import Annotated

import typer

Photos = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", metavar="PHOTO")]
Model = Annotated[str, typer.Option(help="A model's name, its folder, or a checkpoint file.")]
Engine = Annotated[str, typer.Option(help="auto, onnx, openvino or torch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Processor threads; all, if not given.", metavar="N")
]
