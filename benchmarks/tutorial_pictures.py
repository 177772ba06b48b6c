"""The pictures of the tutorial, made by the tutorial's own code. Run: python benchmarks/tutorial_pictures.py

The Python blocks of docs/tutorial.md are run in their order, in a temporary folder that holds a copy of samples/.
Each picture that the page shows must then be there under its own name; it is stored as a JPEG of under 60 kB.
"""

import re
import shutil
import tempfile
from contextlib import chdir
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
MOST_BYTES = 60_000
LONGEST_SIDE = 640
"""Pixels; a larger picture is made smaller."""
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"\(pictures/tutorial/([\w.-]+)\.jpg\)")


def main(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder of the pictures.", metavar="FOLDER")
    ] = ROOT / "docs" / "pictures" / "tutorial",
) -> None:
    page, output = PAGE.read_text(encoding="utf-8"), output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        shutil.copytree(ROOT / "samples", "samples")
        run(BLOCK.findall(page))
        for name in PICTURE.findall(page):
            content = jpeg(picture(name))
            (output / f"{name}.jpg").write_bytes(content)
            print(f"{name}.jpg  {len(content) / 1000:.0f} kB")


def run(blocks: list[str]) -> None:
    """Runs the blocks of code in the working folder, with the names that earlier blocks have set."""
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)


def picture(name: str) -> Image.Image:
    """The file of this name, .jpg or .png, on white where it is transparent. Raises SystemExit when there is none."""
    found = [path for path in sorted(Path().glob(f"{name}.*")) if path.suffix in (".jpg", ".png")]
    if not found:
        raise SystemExit(f"{PAGE.name} shows {name}.jpg, but its code writes no {name}.jpg or {name}.png")
    image = Image.open(found[0]).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image


def jpeg(image: Image.Image) -> bytes:
    """The best of some qualities that is small enough. Raises SystemExit when none is."""
    for quality in (90, 80, 70, 60, 50):
        file = BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        if file.tell() < MOST_BYTES:
            return file.getvalue()
    raise SystemExit(f"a picture of {image.width} × {image.height} pixels needs more than {MOST_BYTES} bytes")


if __name__ == "__main__":
    typer.run(main)
