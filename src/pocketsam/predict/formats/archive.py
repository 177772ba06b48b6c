"""Files of a data set in one ZIP file."""

import zipfile
from collections.abc import Iterable
from io import BytesIO


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """The ZIP file of files, each with its name. The same files give the same bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
