"""What the API takes and gives, as JSON. Coordinates are (x, y) in pixels of the upright photo."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from pocketsam.predict.formats.result import DEFAULT_NAME
from pocketsam.server.limits import Limits

LIMITS = Limits()
Point = tuple[FiniteFloat, FiniteFloat]
Box = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Points = Annotated[list[Point], Field(max_length=LIMITS.points)]
Labels = Annotated[list[Literal[0, 1]], Field(max_length=LIMITS.points)]


class Strict(BaseModel):
    """Unknown fields are errors, as they are misspelt ones."""

    model_config = ConfigDict(extra="forbid")


class Error(BaseModel):
    """What is wrong with a request, and what to do, in one line."""

    error: str


class RunLengths(Strict):
    """A mask as COCO's compressed run lengths. size: height and width of the photo."""

    size: tuple[int, int]
    counts: Annotated[str, Field(max_length=4_000_000)]


class Prompt(Strict):
    """Where one object is: clicks, a box, or both. labels: for each point, 1 on the object, 0 not on it."""

    points: Points = []
    labels: Labels = []
    box: Box | None = None
    name: Name = DEFAULT_NAME


Part = Literal["rle", "polygons", "png"]


class MasksRequest(Strict):
    """multimask: three masks for each object, the most confident first. refine: outlines follow the edges.
    zoom: small objects are looked at a second time; not with multimask.

    include: how the masks are given. preview: do not wait; the status is 429 when the model is busy.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"objects": [{"points": [[250, 200]], "labels": [1], "name": "shirt"}]}]
        }
    )

    objects: Annotated[list[Prompt], Field(min_length=1, max_length=LIMITS.prompts)]
    multimask: bool = False
    refine: bool = False
    zoom: bool = False
    include: list[Part] = ["rle", "polygons"]
    preview: bool = False


class EverythingRequest(Strict):
    """The options of everything mode; the model's own where they are null."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"points_per_side": 24}]})

    points_per_side: Annotated[int, Field(ge=1, le=64)] | None = None
    pred_iou_thresh: Annotated[float, Field(ge=0, le=1)] | None = None
    stability_score_thresh: Annotated[float, Field(ge=0, le=1)] | None = None
    min_mask_region_area: Annotated[float, Field(ge=0, le=1e9)] | None = None


class Mask(BaseModel):
    """A mask. object: the number of its prompt. box: x0, y0, x1, y1. area: in pixels. empty: nothing was found.

    rle: COCO's run lengths. polygons: of each part of the mask, its outer outline and then those of its holes.
    png: a PNG file of the photo's size in base64, 255 on the object. Those that were not asked for are null.
    """

    object: int
    name: str
    rle: RunLengths | None
    polygons: list[list[list[Point]]] | None
    png: str | None
    box: Box
    area: int
    predicted_iou: float
    empty: bool


class Masks(BaseModel):
    """The masks of all prompts of a request, or of everything mode."""

    masks: list[Mask]


class Stroke(Strict):
    """A stroke of the brush along a line, which adds to a mask or erases from it. radius: in pixels of the photo."""

    points: Annotated[list[Point], Field(min_length=1, max_length=LIMITS.stroke_points)]
    radius: Annotated[float, Field(gt=0, le=100_000)]
    adds: bool = True


class Fraction(BaseModel):
    """How much of a long request is done, from 0 to 1."""

    fraction: float


class Annotation(Strict):
    """An object that was annotated, and what its mask was made from, if known: a prompt, and strokes of the brush."""

    rle: RunLengths
    name: Name = DEFAULT_NAME
    predicted_iou: FiniteFloat = 0.0
    points: Points = []
    labels: Labels = []
    box: Box | None = None
    strokes: Annotated[list[Stroke], Field(max_length=LIMITS.strokes)] = []
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")] | None = None
    visible: bool = True


class AnnotationList(Strict):
    """All annotations of a photo, in their order."""

    objects: Annotated[list[Annotation], Field(max_length=LIMITS.annotations)]


class SavedAnnotation(Annotation):
    """An annotation with its outlines: see `Mask`."""

    polygons: list[list[list[Point]]]


class SavedAnnotations(BaseModel):
    """All annotations of a photo, in their order."""

    objects: list[SavedAnnotation]


class PhotoEntry(BaseModel):
    """A photo that the server shows."""

    id: str
    name: str


class PhotoDetails(PhotoEntry):
    """A photo that is encoded. width, height: in pixels, upright."""

    width: int
    height: int


class FormatEntry(BaseModel):
    """A format for exports. suffixes: each of them names it. what: it holds."""

    suffixes: list[str]
    what: str


class ModelDetails(BaseModel):
    """The model, the engine that runs it, and what the server accepts."""

    name: str
    engine: str
    version: str
    formats: list[FormatEntry]
    limits: dict[str, int]
