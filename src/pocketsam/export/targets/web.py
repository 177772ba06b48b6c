"""A site that runs the model in the browser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.export.targets.base import CalibrationImages, Target, Zoo
from pocketsam.utils.options import OUTPUT, option
from pocketsam.utils.running import MODEL


@dataclass(frozen=True)
class Web(Target):
    """See `export/web.py`. onnxruntime_web: the folder of npm's package; None to fetch it."""

    name = "web"
    summary = (
        "Make a static site that segments photos in the browser: the page of `pocketsam serve`,"
        " without a server."
    )
    description = (
        f"{summary}\n\nAny host of static files can serve it. Photos stay on the visitor's computer, and it works"
        " offline."
    )

    output: Path = field(
        default=Path("site"), metadata=option(Path, "The folder of the site.", flags=OUTPUT, metavar="FOLDER")
    )
    model: str = field(default="pocket", metadata=MODEL)
    onnxruntime_web: Path | None = field(
        default=None,
        metadata=option(
            Path, "The folder of npm's package onnxruntime-web; fetched, if not given.", metavar="FOLDER"
        ),
    )

    def export(self, zoo: Zoo, read_images: CalibrationImages) -> Iterator[str]:
        """See `Target.export`."""
        from pocketsam.export.onnxruntime_web import runtime_files
        from pocketsam.export.web import export_web

        runtime = runtime_files(self.onnxruntime_web)
        mb = export_web(zoo.locate_onnx(self.model), self.output, runtime) / 1e6
        yield f"{self.output}: {mb:.0f} MB; to see it: python -m http.server -d {self.output} --bind 127.0.0.1"
