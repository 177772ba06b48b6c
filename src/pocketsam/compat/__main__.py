"""`python -m pocketsam.compat SCRIPT …`: runs a script that imports segment_anything or mobile_sam, unchanged."""

import runpy
import sys
from pathlib import Path

from pocketsam.compat.aliases import install

USAGE = """usage: python -m pocketsam.compat SCRIPT [ARGUMENTS …]
       python -m pocketsam.compat -m MODULE [ARGUMENTS …]

Runs a script or a module in which segment_anything and mobile_sam are PocketSAM."""


def main(arguments: list[str]) -> int:
    """Run what the arguments say; the exit code, unless the script exits by itself."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    install()
    if arguments[0] == "-m":
        if len(arguments) < 2:
            print(USAGE, file=sys.stderr)
            return 2
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return 0
    script = Path(arguments[0])
    if not script.is_file():
        print(f"{script}: no such file", file=sys.stderr)
        return 2
    sys.argv = arguments
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
