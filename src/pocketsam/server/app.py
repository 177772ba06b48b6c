"""The routes: the page, and the API that it uses, which /api/ and /api/openapi.json describe."""

from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pocketsam import __version__
from pocketsam.errors import PocketSAMError
from pocketsam.predict.formats import FORMATS
from pocketsam.server import label_studio
from pocketsam.server.events import with_progress
from pocketsam.server.guard import Guard, refusal
from pocketsam.server.limits import RequestError
from pocketsam.server.messages import (
    AnnotationList,
    Error,
    EverythingRequest,
    FormatEntry,
    Masks,
    MasksRequest,
    ModelDetails,
    PhotoDetails,
    PhotoEntry,
    SavedAnnotations,
)
from pocketsam.server.reference import reference_page
from pocketsam.server.service import Service

Suffix: TypeAlias = Annotated[str, Query(min_length=2, max_length=40, examples=[".json"])]
STATIC = Path(__file__).parent / "static"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 409, 413, 421, 422, 429, 503)
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
    _add_photos(app, service)
    _add_annotations(app, service)
    app.include_router(label_studio.router(service))
    _add_page(app)
    return app


def _add_photos(app: FastAPI, service: Service) -> None:
    @app.get("/api/model")
    def model() -> ModelDetails:
        """The model, the formats for exports, and the limits."""
        engine = service.segmenter.engine
        formats = [FormatEntry(suffixes=list(one.suffixes), what=one.what) for one in FORMATS]
        return ModelDetails(
            name=engine.config.name,
            engine=engine.info.name,
            version=__version__,
            formats=formats,
            limits=vars(service.limits),
        )

    @app.get("/api/photos")
    def photos() -> list[PhotoEntry]:
        """The photos that the server shows."""
        return [PhotoEntry(id=entry.id, name=entry.name) for entry in service.album]

    @app.post("/api/photos", status_code=201, openapi_extra=_BINARY_BODY)
    async def upload(
        request: Request, name: Annotated[str, Query(min_length=1, max_length=255)]
    ) -> PhotoEntry:
        """Add a photo: the body is its file."""
        entry = await service.add(name, await request.body())
        return PhotoEntry(id=entry.id, name=entry.name)

    @app.get("/api/photos/{id}")
    async def photo(id: str, request: Request) -> PhotoDetails:
        """Encode a photo, so that its masks come at once; gives its size."""
        opened = await service.open(id, _user(request))
        height, width = opened.geometry.height, opened.geometry.width
        return PhotoDetails(id=id, name=service.album[id].name, width=width, height=height)

    @app.get("/api/photos/{id}/image", response_class=Response)
    async def image(id: str) -> Response:
        """The photo as the model gets it, upright."""
        content = await service.picture(id)
        kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
        return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/api/photos/{id}/masks")
    async def masks(id: str, prompts: MasksRequest, request: Request) -> Masks:
        """The masks of the objects that are clicked on or boxed."""
        return Masks(masks=await service.segment(id, prompts, _user(request)))

    @app.post("/api/photos/{id}/everything")
    async def everything(id: str, options: EverythingRequest, request: Request) -> Masks:
        """The masks of all objects, without a prompt."""
        return await service.everything(id, options, _user(request))

    @app.post("/api/photos/{id}/everything/events", response_class=EventStream)
    async def everything_events(id: str, options: EverythingRequest, request: Request) -> EventStream:
        """The same as server-sent events: `progress`, with the fraction that is done; at the end `masks`, or `error`.

        Closing the connection ends the work.
        """
        await service.open(id, _user(request))  # which says what is wrong with a status
        work = partial(service.everything, id, options, _user(request))
        return EventStream(with_progress(work, "masks"))

    @app.get("/api/photos/{id}/embedding", response_class=FileDownload)
    async def embedding(id: str, request: Request) -> FileDownload:
        """The image encoder's output, as the .npz file that `Photo.save_embedding` writes."""
        return FileDownload(*await service.embedding(id, _user(request)))


def _add_annotations(app: FastAPI, service: Service) -> None:
    @app.get("/api/photos/{id}/annotations")
    async def saved(id: str) -> SavedAnnotations:
        """The annotations that were saved."""
        return SavedAnnotations(objects=await service.saved(id))

    @app.put("/api/photos/{id}/annotations", status_code=204)
    async def save(id: str, annotations: AnnotationList) -> None:
        """Save these annotations, and no others."""
        await service.save(id, annotations.objects)

    @app.get("/api/export", response_class=FileDownload)
    async def export_all(suffix: Suffix) -> FileDownload:
        """The saved annotations of all photos as one file, or as a ZIP file of a file for each photo."""
        return FileDownload(*await service.export_all(suffix))

    @app.get("/api/photos/{id}/export", response_class=FileDownload)
    async def export(id: str, suffix: Suffix, request: Request) -> FileDownload:
        """The saved annotations as a file of the format that the suffix means; `/api/model` lists the formats."""
        return FileDownload(*await service.export(id, suffix, _user(request)))


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


_BINARY_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class FileDownload(Response):
    """A file that browsers save under a name."""

    media_type = "application/octet-stream"

    def __init__(self, name: str, content: bytes, status_code: int = 200) -> None:
        disposition = f"attachment; filename*=UTF-8''{quote(name)}"
        super().__init__(content, status_code, {"Content-Disposition": disposition})


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


def _user(request: Request) -> str:
    return request.client.host if request.client else ""
