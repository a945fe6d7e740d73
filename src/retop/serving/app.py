"""The routes."""

import asyncio
import io
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from retop.errors import UnreadableImageError
from retop.predictor import Predictor
from retop.serving.answers import PROBLEMS, REQUEST_BODY, ModelsAnswer, PredictAnswer
from retop.serving.guard import Guard
from retop.serving.journal import LOG
from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics
from retop.serving.models import ServedModels
from retop.serving.uploads import read_uploads
from retop.version import __version__

_PAGE_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_PAGES = {
    "/": "page.html",
    "/docs": "docs.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/docs.js": "docs.js",
}
_PAGE_POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; frame-ancestors 'none'"

ModelName = Annotated[str, Path(description="Name of a model, from /v1/models.")]


def create_app(
    predictors: dict[str, Predictor],
    limits: Limits,
    api_key: str | None = None,
    hosts: frozenset[str] | None = None,
) -> Guard:
    """The server as an ASGI application.

    Args:
        predictors: the models by name.
        limits: of the server.
        api_key: that requests must carry; None for none.
        hosts: names under which the server answers; None for any.

    Returns:
        The application; its `models` start with it and stop with it.
    """
    metrics = ServerMetrics()
    models = ServedModels(predictors, limits, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # The server listens, and is alive, before it is ready.
        starting = asyncio.create_task(models.start())
        starting.add_done_callback(lambda done: _tell(done, models))
        yield
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await models.stop()

    app = FastAPI(
        title="retop",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    _add_pages(app)
    _add_state(app, models, metrics)
    _add_predictions(app, models)
    routes = [getattr(route, "path", "") for route in app.routes]
    return Guard(app, models, api_key, hosts, routes)


def _tell(started: "asyncio.Task[None]", models: ServedModels) -> None:
    """Write down what came of the start. A server whose models cannot start ends instead of refusing for ever."""
    if started.cancelled():
        return
    if (error := started.exception()) is not None:
        LOG.error(json.dumps({"event": "the models cannot start", "error": str(error)}))
        signal.raise_signal(signal.SIGTERM)
        return
    seconds, most = models.room.full_queue_seconds, models.limits.stop_seconds
    line = {"event": "ready", "full_queue_seconds": round(seconds, 1), "stop_seconds": most}
    if seconds > most:
        line["warning"] = "a stop may leave part of a full queue unanswered: raise --stop-seconds or lower --waiting"
    LOG.info(json.dumps(line))


def _add_pages(app: FastAPI) -> None:
    def page(name: str) -> Response:
        content = (resources.files("retop.serving") / "page" / name).read_bytes()
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
        return Response(content, media_type=_PAGE_TYPES[name.rpartition(".")[2]], headers=headers)

    for path, name in _PAGES.items():
        app.add_api_route(path, lambda name=name: page(name), include_in_schema=False, methods=["GET"])


def _add_state(app: FastAPI, models: ServedModels, metrics: ServerMetrics) -> None:
    @app.get("/live", summary="Whether the process answers", tags=["state"])
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/ready", summary="Whether requests are taken", tags=["state"], responses={503: PROBLEMS[503]})
    async def ready() -> JSONResponse:
        taken = models.ready and not models.stopping
        return JSONResponse({"ready": taken}, 200 if taken else 503)

    @app.get("/metrics", summary="Counters for Prometheus", tags=["state"], response_class=Response)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", summary="The models", tags=["models"])
    async def list_models() -> ModelsAnswer:
        return ModelsAnswer(models=[models.describe(name) for name in models.predictors])


def _add_predictions(app: FastAPI, models: ServedModels) -> None:
    options: dict[str, Any] = {"openapi_extra": REQUEST_BODY, "responses": PROBLEMS, "tags": ["models"]}

    @app.post("/v1/models/{name}/predict", summary="Classify images", response_model=PredictAnswer, **options)
    async def predict(
        request: Request, name: ModelName, top: Annotated[int, Query(ge=1, le=1000, description="Classes to name.")] = 3
    ) -> Any:
        predictor = models.find(name)
        async with models.enter() as place:
            uploads = await read_uploads(request, models.limits, place)
            answers = await asyncio.gather(*(models.predict(name, upload, top) for upload in uploads))
        if all(answer.error is not None for answer in answers):
            problems = [{"name": answer.name, "error": answer.error} for answer in answers]
            return JSONResponse({"detail": problems}, 422)
        return PredictAnswer(model=name, reject_below=predictor.reject_below, predictions=list(answers))

    @app.post(
        "/v1/models/{name}/heat-map",
        summary="Which parts of an image speak for a class, as a PNG",
        response_class=Response,
        **{**options, "responses": {**PROBLEMS, 200: {"content": {"image/png": {}}}}},
    )
    async def heat_map(
        request: Request,
        name: ModelName,
        label: Annotated[str | None, Query(description="The class; without it the most probable one.")] = None,
    ) -> Response:
        predictor = models.find(name)
        if label is not None and label not in predictor.classes:
            raise HTTPException(404, f"{name} has no class {label!r}")
        async with models.enter() as place:
            uploads = await read_uploads(request, models.limits, place)
            if len(uploads) > 1:
                raise HTTPException(422, f"a heat map is made of one image; the request holds {len(uploads)}")
            upload = uploads[0]
            with models.heat_maps.enter():
                try:
                    pixels_hwc = await models.decode(name, upload.content)
                except UnreadableImageError as error:
                    raise HTTPException(422, [{"name": upload.name, "error": error.reason}]) from error
                from retop.explanation import overlay_of

                image = await models.heat_maps.make(partial(overlay_of, predictor, pixels_hwc, label))
        content = io.BytesIO()
        image.save(content, "PNG")
        return Response(content.getvalue(), media_type="image/png")
