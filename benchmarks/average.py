"""The weighted mean of the weights of runs that started from one another: often better than each (arXiv 2203.05482).

Run: python benchmarks/average.py A.safetensors=0.25 B.safetensors=0.75 -o mean.safetensors
"""

from pathlib import Path
from typing import Annotated

import typer

from pocketsam.models.checkpoints import load_model, mean_weights, save_model


def main(
    parts: Annotated[list[str], typer.Argument(help="FILE=SHARE of each; the shares add up to 1.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
) -> None:
    pairs = [part.rpartition("=") for part in parts]
    shares = [float(share) for _, _, share in pairs]
    if abs(sum(shares) - 1) > 1e-6:
        raise typer.BadParameter(f"the shares add up to {sum(shares):g}, not to 1")
    paths = [Path(path) for path, _, _ in pairs]
    sam, config = load_model(paths[0])
    sam.load_state_dict(mean_weights(paths, shares))
    save_model(output, sam.state_dict(), config)
    print(f"Written to {output}")


if __name__ == "__main__":
    typer.run(main)
