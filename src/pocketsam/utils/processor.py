"""What this processor can do."""

import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
"""Linux's names of instructions that add several products of 8-bit integers at once, on x86 and ARM."""


@cache
def description() -> str:
    """What tells processors apart for which code is optimised: the model and, where Linux says it, what it can do."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join(sorted(told)) or platform.machine()


@cache
def multiplies_int8() -> bool:
    """Whether the processor multiplies 8-bit integers faster than floats.

    Known on Linux, and of Apple's own processors, all of which do; elsewhere it is taken not to.
    """
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    try:
        return bool(DOT_PRODUCTS & set(CPUINFO.read_text().split()))
    except OSError:
        return False
