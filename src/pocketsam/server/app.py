"""The application: the page, and the API that it uses, which /api/ and /api/openapi.json describe."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pocketsam import __version__
from pocketsam.errors import PocketSAMError
from pocketsam.server import label_studio
from pocketsam.server.guard import Guard, refusal
from pocketsam.server.limits import RequestError
from pocketsam.server.messages import Error
from pocketsam.server.reference import reference_page
from pocketsam.server.routes import routes
from pocketsam.server.service import Service

STATIC = Path(__file__).parent / "static"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 409, 412, 413, 421, 422, 429, 503)
}


def make_app(service: Service, hosts: tuple[str, ...] | None = None, token: str | None = None) -> FastAPI:
    """The ASGI application. hosts, token: see `Guard`."""
    app = FastAPI(
        title="PocketSAM",
        version=__version__,
        docs_url=None,  # FastAPI's page loads its scripts from another server
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=ERRORS,
    )
    app.add_middleware(Guard, hosts=hosts, token=token, limits=service.limits)
    _add_errors(app)
    app.state.service = service
    app.include_router(routes)
    app.include_router(label_studio.router(service))
    _add_page(app)
    return app


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api/", include_in_schema=False)
    def api(request: Request) -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi(), str(request.base_url)))

    app.mount("/static", StaticFiles(directory=STATIC))


def _add_errors(app: FastAPI) -> None:
    """Each error is {"error": one line}."""

    @app.exception_handler(RequestError)
    def refused(_: Request, error: RequestError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(PocketSAMError)
    def unusable(_: Request, error: PocketSAMError) -> JSONResponse:
        return refusal(RequestError(400, " ".join(str(error).split())))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")[:200]
        return refusal(RequestError(422, f"{where or 'the body'}: {first['msg']}"))

    @app.exception_handler(ClientDisconnect)
    def gone(_: Request, error: ClientDisconnect) -> JSONResponse:
        return refusal(RequestError(400, "the connection ended before the body was complete"))

    @app.exception_handler(HTTPException)
    def unknown(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(RequestError(error.status_code, str(error.detail)))
