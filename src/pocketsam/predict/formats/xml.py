"""What the formats that are XML share."""

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(content: bytes) -> Element:
    """The root of a document. Raises ValueError where it is none, or defines entities, which may grow without end."""
    if b"<!ENTITY" in content:
        raise ValueError("defines XML entities; remove them")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"is not whole, or no XML ({error})") from error


def element(tag: str, attributes: Mapping[str, object] | None = None, text: str = "") -> Element:
    """An element. Characters that XML cannot hold, such as control characters, become �."""
    made = Element(tag, {name: clean(str(value)) for name, value in (attributes or {}).items()})
    made.text = clean(text) or None
    return made


def clean(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)


def to_bytes(root: Element) -> bytes:
    """The UTF-8 text of an element, indented."""
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True))
