"""Which requests reach the API: those of this server's own page, or of a program that has the token.

A page of another site cannot use the server through a visitor's browser: its requests carry its own Origin, or say
Sec-Fetch-Site: cross-site; and a name that another site has pointed at this computer (DNS rebinding) is no allowed
Host.
"""

import secrets
from base64 import b64decode
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, urlsplit

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketsam.server.limits import Limits, RequestError

COOKIE = "pocketsam"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none';"
    " form-action 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Checks the headers, the token and the size of each request before `app` gets it.

    hosts: the names by which the server may be called; any, when None, which is safe only with a token.
    token: that each request must bring, as `Authorization: Bearer TOKEN`, as the password of basic authentication
    (Label Studio's way), or as the cookie that /?token=TOKEN sets.
    limits: of which `body`, `bodies` and `requests` count.
    """

    def __init__(
        self, app: ASGIApp, hosts: tuple[str, ...] | None, token: str | None, limits: Limits
    ) -> None:
        self._app, self._hosts, self._token, self._limits = app, hosts, token, limits
        self._requests = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        send = _with_headers(send)
        try:
            self._check_origin(headers, scope)
            answer = self._check_token(headers, scope)
            length = self._length(headers)
            self._check_room(length)
        except RequestError as error:
            answer = refusal(error)
        if answer is not None:
            await answer(scope, receive, send)
            return
        self._requests, self._bytes = self._requests + 1, self._bytes + length
        try:
            await self._app(scope, self._limited(receive), send)
        finally:
            self._requests, self._bytes = self._requests - 1, self._bytes - length

    def _check_origin(self, headers: Mapping[str, str], scope: Scope) -> None:
        host = headers.get("host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            raise RequestError(421, "this server has another name; open the address that it printed")
        if headers.get("origin", f"http://{host}") not in (f"http://{host}", f"https://{host}"):
            raise RequestError(403, "a page of another site may not use this server")
        elsewhere = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        opens_page = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if elsewhere and not (opens_page and scope["method"] == "GET"):
            raise RequestError(403, "a page of another site may not use this server")

    def _check_token(self, headers: Mapping[str, str], scope: Scope) -> Response | None:
        """A redirection that sets the cookie, where the address holds the token. RequestError (401) without one."""
        if self._token is None:
            return None
        if scope["path"] == "/":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if self._is_token(given):
                answer = RedirectResponse("/", 303)
                answer.set_cookie(COOKIE, quote(given, safe=""), httponly=True, samesite="strict", path="/")
                return answer
        if self._is_token(_authorization(headers)) or secrets.compare_digest(
            _cookie(headers).encode(), quote(self._token, safe="").encode()
        ):
            return None
        raise RequestError(401, "this server needs its token; open the address /?token=TOKEN")

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), (self._token or "").encode())

    def _length(self, headers: Mapping[str, str]) -> int:
        """Bytes of the body, or the most that it may have. RequestError (413) when it is longer."""
        if "transfer-encoding" in headers:
            return self._limits.body
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body:
            raise self._too_large()
        return int(length)

    def _check_room(self, length: int) -> None:
        """RequestError (503) while too many requests, or too large ones, are in work."""
        if self._requests >= self._limits.requests or self._bytes + length > self._limits.bodies:
            raise RequestError(503, "the server has too many requests in work; try again in a second", 1)

    def _limited(self, receive: Receive) -> Receive:
        """A body without a Content-Length is counted as it comes."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limits.body:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the request is larger than {self._limits.body // 2**20} MiB; send less")


def refusal(error: RequestError) -> JSONResponse:
    """The response for a request that is refused."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return JSONResponse({"error": error.line}, error.status, headers)


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _authorization(headers: Mapping[str, str]) -> str:
    """The token, or the password, that the header `Authorization` brings."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme != "Basic":
        return given if scheme == "Bearer" else ""
    try:
        return b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if cookie is None else cookie.value


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending
