"""What the server accepts, and the error for what it does not."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException


@dataclass(frozen=True)
class Limits:
    """The most that a request, a user or the server's memory may hold.

    body: bytes of a request. pixels: of a photo. prompts: objects of a request. points: of an object.
    strokes: of the brush, of an object; stroke_points: of a stroke. annotations: objects that are saved for a photo.
    requests: that are in work at the same time; bodies: bytes of their bodies. waiting: requests that wait for the
    model, of all users; waiting_each: of one user. cache: bytes of encoded photos. uploads: bytes of uploaded files.
    """

    body: int = 40 * 2**20
    pixels: int = 50_000_000
    prompts: int = 64
    points: int = 200
    strokes: int = 500
    stroke_points: int = 2000
    annotations: int = 5000
    requests: int = 256
    bodies: int = 160 * 2**20
    waiting: int = 64
    waiting_each: int = 16
    cache: int = 512 * 2**20
    uploads: int = 512 * 2**20


class RequestError(HTTPException):
    """A request that is refused. status: of HTTP. retry_after: seconds after which it may succeed, or None."""

    def __init__(self, status: int, line: str, retry_after: int | None = None) -> None:
        super().__init__(status, line)
        self.status, self.line, self.retry_after = status, line, retry_after
