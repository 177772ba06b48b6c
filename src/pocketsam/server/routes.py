"""The routes of the API, under /api: photos, their masks, and their annotations."""

from functools import partial
from typing import Annotated, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from pocketsam import __version__
from pocketsam.predict.formats import FORMATS
from pocketsam.server.events import with_progress
from pocketsam.server.messages import (
    AnnotationList,
    EverythingRequest,
    FormatEntry,
    Masks,
    MasksRequest,
    ModelDetails,
    PhotoDetails,
    PhotoEntry,
    SavedAnnotations,
)
from pocketsam.server.service import Service


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _user(request: Request) -> str:
    """Whose turn a request counts as: the address that it comes from."""
    return request.client.host if request.client else ""


Served: TypeAlias = Annotated[Service, Depends(_service)]
User: TypeAlias = Annotated[str, Depends(_user)]
Suffix: TypeAlias = Annotated[str, Query(min_length=2, max_length=40, examples=[".json"])]
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


routes = APIRouter(prefix="/api")


@routes.get("/model")
def model(service: Served) -> ModelDetails:
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


@routes.get("/photos")
def photos(service: Served) -> list[PhotoEntry]:
    """The photos that the server shows."""
    return [PhotoEntry(id=entry.id, name=entry.name) for entry in service.album]


@routes.post("/photos", status_code=201, openapi_extra=_BINARY_BODY)
async def upload(
    service: Served, request: Request, name: Annotated[str, Query(min_length=1, max_length=255)]
) -> PhotoEntry:
    """Add a photo: the body is its file."""
    entry = await service.add(name, await request.body())
    return PhotoEntry(id=entry.id, name=entry.name)


@routes.get("/photos/{id}")
async def photo(service: Served, user: User, id: str) -> PhotoDetails:
    """Encode a photo, so that its masks come at once; gives its size."""
    opened = await service.open(id, user)
    height, width = opened.geometry.height, opened.geometry.width
    return PhotoDetails(id=id, name=service.album[id].name, width=width, height=height)


@routes.get("/photos/{id}/image", response_class=Response)
async def image(service: Served, id: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The photo as the model gets it, upright. The header `ETag` changes with the photo."""
    tag = f'"{await service.digest(id)}"'
    # Browsers keep it, and ask whether it has changed.
    headers = {"Cache-Control": "private, no-cache", "ETag": tag}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    content = await service.picture(id)
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=kind, headers=headers)


@routes.post("/photos/{id}/masks")
async def masks(service: Served, user: User, id: str, prompts: MasksRequest) -> Masks:
    """The masks of the objects that are clicked on or boxed."""
    return Masks(masks=await service.segment(id, prompts, user))


@routes.post("/photos/{id}/everything")
async def everything(service: Served, user: User, id: str, options: EverythingRequest) -> Masks:
    """The masks of all objects, without a prompt."""
    return await service.everything(id, options, user)


@routes.post("/photos/{id}/everything/events", response_class=EventStream)
async def everything_events(service: Served, user: User, id: str, options: EverythingRequest) -> EventStream:
    """The same as server-sent events: `progress`, with the fraction that is done; at the end `masks`, or `error`.

    Closing the connection ends the work.
    """
    await service.open(id, user)  # which says what is wrong with a status
    work = partial(service.everything, id, options, user)
    return EventStream(with_progress(work, "masks"))


@routes.get("/photos/{id}/embedding", response_class=FileDownload)
async def embedding(service: Served, user: User, id: str) -> FileDownload:
    """The image encoder's output, as the .npz file that `Photo.save_embedding` writes."""
    return FileDownload(*await service.embedding(id, user))


@routes.get("/photos/{id}/annotations")
async def saved(service: Served, response: Response, id: str) -> SavedAnnotations:
    """The annotations that were saved. The header `ETag` is their version."""
    objects, version = await service.saved(id)
    response.headers["ETag"] = f'"{version}"'
    return SavedAnnotations(objects=objects)


@routes.put("/photos/{id}/annotations", status_code=204)
async def save(
    service: Served, id: str, annotations: AnnotationList, if_match: Annotated[str | None, Header()] = None
) -> Response:
    """Save these annotations, and no others. The header `ETag` is their version.

    With the header `If-Match`, those of another version are not replaced: the status is 412 then.
    """
    tag = if_match and if_match.strip().removeprefix("W/").strip('"')  # weak, where a proxy compresses
    version = await service.save(id, annotations.objects, None if tag == "*" else tag)
    return Response(status_code=204, headers={"ETag": f'"{version}"'})


@routes.get("/export", response_class=FileDownload)
async def export_all(service: Served, suffix: Suffix) -> FileDownload:
    """The saved annotations of all photos as one file, or as a ZIP file of a file for each photo."""
    return FileDownload(*await service.export_all(suffix))


@routes.get("/photos/{id}/export", response_class=FileDownload)
async def export(service: Served, user: User, id: str, suffix: Suffix) -> FileDownload:
    """The saved annotations as a file of the format that the suffix means; `/api/model` lists the formats."""
    return FileDownload(*await service.export(id, suffix, user))
