"""What the server answers, as OpenAPI describes it."""

from typing import Any

from pydantic import BaseModel


class ClassProbability(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class ImageAnswer(BaseModel):
    """The answer for one image."""

    name: str
    """File name as sent, or the image's place in the request."""
    label: str | None
    """The most probable class; null where the image cannot be read, or the model refuses to answer."""
    confidence: float | None
    rejected: bool
    """The confidence lies below the model's threshold: none of these."""
    top: list[ClassProbability]
    error: str | None
    """Why the image cannot be read."""


class PredictAnswer(BaseModel):
    """The answer for a request."""

    model: str
    reject_below: float
    predictions: list[ImageAnswer]


class Rate(BaseModel):
    """A fraction with its 95 % interval."""

    value: float
    low: float
    high: float


class ModelAnswer(BaseModel):
    """A model that is served."""

    name: str
    classes: list[str]
    backbone: str
    kind: str
    width: int
    height: int
    validation_accuracy: float
    temperature: float
    reject_below: float
    coverage: Rate | None
    """Fraction of validation images that are answered at this threshold."""
    accuracy: Rate | None
    """Fraction right among them."""
    weights_sha256: str


class ModelsAnswer(BaseModel):
    """All models."""

    models: list[ModelAnswer]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: Any


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        400: "the client went away or the request is malformed",
        401: "the API key is missing or wrong",
        403: "the request comes from another site",
        404: "no such model",
        408: "the body arrives too slowly",
        413: "body, images or pixels above the limit",
        415: "the body has no known form",
        421: "the host name is not this server's",
        422: "no image in the request can be read",
        429: "too many images are waiting; see Retry-After",
        503: "the server starts or stops",
    }.items()
}

_SCHEMES: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["images"],
            "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        }
    },
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["images"],
            "properties": {"images": {"type": "array", "items": {"type": "string", "format": "byte"}, "minItems": 1}},
        }
    },
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}
REQUEST_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _SCHEMES}}
