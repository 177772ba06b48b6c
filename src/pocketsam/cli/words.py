"""Wording that several commands use."""


def count(number: int, what: str) -> str:
    """A number with its noun: "1 photo", "2 photos"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
