"""A photo sent from file to file: what to send well is found, sent through a channel, and written as it arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketsam.apps.cutout import salient_alpha
from pocketsam.apps.saliency import open_encoder
from pocketsam.apps.saliency_head import SaliencyHead
from pocketsam.apps.transmission.channel import Channel
from pocketsam.apps.transmission.container import Container, read, write
from pocketsam.apps.transmission.quality import psnr
from pocketsam.apps.transmission.semantic import TransmissionSettings, receive, send
from pocketsam.errors import InputError
from pocketsam.predict.formats.pictures import encode_image
from pocketsam.predict.image import load_image
from pocketsam.predict.objects import ObjectPrompt
from pocketsam.predict.photo_files import make_folder
from pocketsam.segmenter import Segmenter
from pocketsam.utils.files import write as write_file
from pocketsam.utils.wording import count, size

ENDING = ".pssc"
"""Of the files of containers."""


@dataclass(frozen=True)
class Transmission:
    """What was sent and what arrived. files: the container, where one was written, and the received photo.

    lines: what there is to say of it, for people.
    """

    files: tuple[Path, ...]
    lines: tuple[str, ...]


def transmit_file(
    path: Path,
    objects: Sequence[ObjectPrompt],
    settings: TransmissionSettings,
    channel: Channel,
    output: Path | None = None,
    model: str = "pocket",
    threads: int | None = None,
) -> Transmission:
    """Send the photo in a file, and write NAME.pssc as it was sent and NAME.received.png as it arrived.

    path: a photo, or a NAME.pssc, which is only received. objects: what is sent well; the salient object where none
    is given. output: a folder; None for the working directory. The rest: see `TransmissionSettings`, `Channel` and
    `Segmenter`.
    Raises InputError where a file cannot be read or written, or no object is found; ModelError as `Segmenter`.
    """
    folder = output or Path()
    if path.suffix.lower() == ENDING:
        container = _read(path)
        make_folder(folder, 1)
        return _received(channel.transmit(container), folder / path.stem)
    photo = load_image(path)
    make_folder(folder, 1)
    mask = find_regions(path, objects, model, threads)
    container = send(photo, mask, settings)
    target = folder / f"{path.stem}{ENDING}"
    write_file(target, write(container))
    arrived = _received(channel.transmit(container), folder / path.stem)
    image = load_image(arrived.files[-1])
    inside, outside = (psnr(photo, image, where) for where in (mask, ~mask))
    bits = 8 * channel.bytes(container) / mask.size
    sent = (
        f"{path}: sent in {size(channel.bytes(container))}, {bits:.2f} bits a pixel; regions {mask.mean():.0%} of it",
        f"PSNR inside the regions {inside:.1f} dB, outside {outside:.1f} dB",
    )
    return Transmission((target, *arrived.files), (*sent, *arrived.lines))


def find_regions(
    path: Path, objects: Sequence[ObjectPrompt], model: str = "pocket", threads: int | None = None
) -> NDArray[np.bool_]:
    """What matters in a photo, (H, W): the masks of all objects or, where none is given, the salient object.

    Raises InputError where nothing is found.
    """
    if not objects:
        photo = open_encoder(model, threads).open(path)
        return salient_alpha(photo, SaliencyHead(model, threads)) > 127
    masks = Segmenter(model, threads=threads, one_image=True).open(path).segment_objects(objects)
    found = np.asarray(masks.binary.any(axis=0))
    if not found.any():
        raise InputError(f"{path}: no object found for these prompts; give others")
    return found


def _read(path: Path) -> Container:
    try:
        return read(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _received(container: Container, target: Path) -> Transmission:
    received = receive(container)
    file = target.with_name(f"{target.name}.received.png")
    write_file(file, encode_image(received.image, ".png"))
    missing = container.lost + received.unreadable
    total = len(container.packets) + container.lost
    lines = (f"{count(missing, 'packet')} of {total} lost or damaged",) if missing else ()
    return Transmission((file,), lines)
