"""Wording that messages share."""


def count(number: int, what: str) -> str:
    """A number with its noun: "1 photo", "2 photos"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def size(number: float) -> str:
    """A number of bytes with a unit that suits it: "16.0 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
