"""Words that several commands say."""


def count(number: int, what: str) -> str:
    """So many of what: "1 photo", "2 photos"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
