"""The class names in YOLO's `data.yaml`, which is all that is read and written of YAML at runtime.

Training needs PyYAML, and masks do not: for one key of one file, the runtime would have a dependency more. Names are
read in the three ways in which people write them; what else is in the file is passed over.
"""

import json
import re
from collections.abc import Iterable

_NAMES = re.compile(r"^names:[ \t]*(.*(?:\n(?:[ \t-].*|(?=\n)|$))*)", re.MULTILINE)
_ITEM = re.compile(r"""(?:\s*\d+\s*:\s*)?(?:\s*"(?:[^"\\]|\\.)*"|\s*'(?:[^']|'')*'|[^,\n]+)""")
_KEY = re.compile(r"\s*(?:(\d+)\s*:\s*|-\s+)")


def read_names(text: str) -> dict[int, str]:
    """The value of `names` by number: `[a, b]`, `{0: a, 1: b}`, or a line for each. Raises ValueError without it."""
    found = _NAMES.search(text)
    if found is None:
        raise ValueError("data.yaml has no `names`")
    value = found[1].strip()
    items = value.splitlines() if value[:1] not in ("[", "{") else _ITEM.findall(_within_brackets(value))
    items = [item for item in items if item.strip() and not item.lstrip().startswith("#")]
    names = {}
    for index, item in enumerate(items):
        match = _KEY.match(item)
        number = match[1] if match else None
        names[index if number is None else int(number)] = _scalar(item[match.end() :] if match else item)
    return names


def _within_brackets(value: str) -> str:
    """What a flow list or mapping holds: up to its closing bracket, or the end, where that is in another line."""
    closing, quote = {"[": "]", "{": "}"}[value[0]], ""
    for i in range(1, len(value)):
        character, before = value[i], value[i - 1]
        if quote:
            ends = character == quote and not (quote == '"' and before == "\\")
            quote = "" if ends else quote
        elif character in "\"'" and before in "[{,: \t\n'":  # in a word, it is an apostrophe
            quote = character
        elif character == closing:
            return value[1:i]
    return value[1:]


def write_names(names: Iterable[str]) -> str:
    """`names` with a line for each, numbered from 0."""
    return "names:\n" + "".join(f"  {i}: {_quoted(name)}\n" for i, name in enumerate(names))


def _scalar(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        return str(json.loads(text))
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return text.partition(" #")[0].strip()


def _quoted(name: str) -> str:
    """A name as a string of YAML and of JSON; what is no letter for YAML is escaped."""
    text = json.dumps(name, ensure_ascii=False)
    return "".join(c if c.isprintable() or ord(c) > 0xFFFF else f"\\u{ord(c):04x}" for c in text)
