"""What can be chosen about a server; needs nothing of the extra "serve"."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocketsam.utils.options import OUTPUT, option


@dataclass(frozen=True)
class ServeArguments:
    """photos: photos and folders of them. output: the folder of the annotations.

    host, port: where the server listens; port 0 is any that is free. token: what each request must bring, or None.
    browser: whether the page is opened in one.
    """

    photos: Sequence[Path] | None = field(
        default=None,
        metadata=option(
            list[Path],
            "Photos, or folders of photos; more can be dropped on the page.",
            argument=True,
            metavar="PHOTO",
        ),
    )
    output: Path = field(
        default=Path(),
        metadata=option(
            Path,
            "The folder of the annotations, a NAME.masks.json for each photo.",
            flags=OUTPUT,
            metavar="FOLDER",
        ),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=option(
            str,
            "The address to listen on; one that other computers can reach needs --token.",
            metavar="ADDRESS",
        ),
    )
    port: int = field(
        default=8000,
        metadata=option(int, "The port; 0 for any that is free.", metavar="N", minimum=0, maximum=65535),
    )
    token: str | None = field(
        default=None,
        metadata=option(
            str, "A secret that each request must bring.", metavar="SECRET", variable="POCKETSAM_TOKEN"
        ),
    )
    browser: bool = field(default=True, metadata=option(bool, "Open the page in the browser."))
