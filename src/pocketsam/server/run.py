"""Running the server: its socket, its address, and its end."""

import errno
import ipaddress
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from types import FrameType
from urllib.parse import quote

import uvicorn

from pocketsam.errors import InputError
from pocketsam.server.app import make_app
from pocketsam.server.guard import LOOPBACK
from pocketsam.server.service import Service

MOST_CONNECTIONS = 1000
"""Beyond these, uvicorn closes connections at once; `Limits.requests` comes long before."""
SECONDS_TO_FINISH = 5
"""How long requests may take that run when the server is stopped."""


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A socket that takes connections. port: 0 for any that is free.

    Raises InputError when the port cannot be had, or other computers can reach the host and there is no token.
    """
    if not is_loopback(host) and not token:
        raise InputError(
            f"--host {host} can be reached from other computers; give --token SECRET, which they then need"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is in use; give another one with --port, or 0 for any") from error
        raise InputError(f"--host {host} --port {port}: {error.strerror or error}") from error


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(listening: socket.socket, host: str, token: str | None) -> str:
    """What to open in a browser."""
    name = f"[{host}]" if ":" in host else host
    query = f"?token={quote(token, safe='')}" if token else ""
    return f"http://{name}:{listening.getsockname()[1]}/{query}"


def serve(
    service: Service, listening: socket.socket, host: str, token: str | None, browser: str | None
) -> None:
    """Answer requests until SIGINT or SIGTERM, and finish those that run then.

    browser: the address to open in one, or None.
    """
    hosts = (*LOOPBACK, host.lower()) if is_loopback(host) else None
    config = uvicorn.Config(
        make_app(service, hosts, token),
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
        limit_concurrency=MOST_CONNECTIONS,
        ws="none",
    )
    if browser is not None:  # the socket listens already
        threading.Thread(target=webbrowser.open, args=(browser,), daemon=True).start()
    _until_stopped(lambda: uvicorn.Server(config).run(sockets=[listening]))


def _until_stopped(run: Callable[[], None]) -> None:
    """uvicorn raises the signal that stopped it once more, which is the regular end here."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, stop)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, former)
