"""The models of a server and the work that a request needs."""

# H, W

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

import numpy as np
import numpy.typing as npt
from fastapi import HTTPException

from retop.errors import ServingError, UnreadableImageError, UsageError
from retop.predictor import Prediction, Predictor
from retop.serving.answers import ClassProbability, ImageAnswer, ModelAnswer, Rate
from retop.serving.batching import Batcher
from retop.serving.decoding import DecoderPool
from retop.serving.heat_maps import HeatMaps
from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics
from retop.serving.room import Place, Room
from retop.serving.uploads import Upload


class ServedModels:
    """Models, decoders and the queue between them.

    Args:
        predictors: by name.
        limits: of the server.
        metrics: of the server.

    Raises:
        UsageError: there is no model.
    """

    def __init__(self, predictors: dict[str, Predictor], limits: Limits, metrics: ServerMetrics) -> None:
        if not predictors:
            raise UsageError("a server needs at least one model")
        self.predictors = predictors
        self.limits = limits
        self.metrics = metrics
        self.ready = False
        self.stopping = False
        self.room = Room(limits, metrics)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="retop-network")
        self.heat_maps = HeatMaps(limits, self._thread, metrics)
        self._numbers = {name: number for number, name in enumerate(predictors)}
        self._decoders: DecoderPool | None = None
        self._batchers = {
            name: Batcher(predictor, limits, self._thread, self._counting(name))
            for name, predictor in predictors.items()
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the decoders and warm the networks up with the smallest and the greatest batch; `ready` afterwards."""
        loop = asyncio.get_running_loop()
        workers = [self.heat_maps.run(), *(batcher.run() for batcher in self._batchers.values())]
        self._tasks = [asyncio.create_task(worker) for worker in workers]
        preprocessings = [predictor.trained.preprocessing for predictor in self.predictors.values()]
        self._decoders = await loop.run_in_executor(None, DecoderPool, preprocessings, self.limits)
        self.room.expect_speed(max([await batcher.warm_up() for batcher in self._batchers.values()]))
        self.ready = True

    async def drain(self, stop_now: Callable[[], bool]) -> None:
        """Let the requests in progress be answered; what is left when the time is over is told to come again.

        Args:
            stop_now: whether nothing shall be waited for any more.
        """
        end = time.monotonic() + self.limits.stop_seconds
        while self.room.num_requests and time.monotonic() < end and not stop_now():
            await asyncio.sleep(0.05)
        self.room.give_up(_stops())

    async def stop(self) -> None:
        """End everything; no request is in progress any more."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=True)
        if self._decoders is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._decoders.close)

    def find(self, name: str) -> Predictor:
        """A model by name.

        Raises:
            HTTPException: 404.
        """
        if name not in self.predictors:
            raise HTTPException(404, f"no model {name!r}; there are {', '.join(self.predictors)}")
        return self.predictors[name]

    def enter(self) -> AbstractAsyncContextManager[Place]:
        """A place for a request, until it is answered; see `Room.enter`.

        Raises:
            HTTPException: 503 with Retry-After where the server is not ready, or stops.
        """
        if self.stopping:
            raise _stops()
        if not self.ready:
            raise HTTPException(503, "the server starts", {"Retry-After": "2"})
        return self.room.enter()

    async def decode(self, name: str, content: bytes) -> npt.NDArray[np.uint8]:
        """Pixels [H, W, 3] for a model, from a decoder process.

        Raises:
            UnreadableImageError: it is no image, or too much for the limits.
            HTTPException: 503 with Retry-After where no decoder process can be had.
        """
        assert self._decoders is not None
        try:
            return await asyncio.wrap_future(self._decoders.submit(content, self._numbers[name]))
        except ServingError as error:
            raise HTTPException(503, str(error), {"Retry-After": "2"}) from error
        finally:
            self.metrics.decoders_replaced.set(self._decoders.replaced)

    async def predict(self, name: str, upload: Upload, top: int) -> ImageAnswer:
        """The answer for one image; it goes before heat maps."""
        with self.heat_maps.put_off():
            return await self._predict(name, upload, top)

    async def _predict(self, name: str, upload: Upload, top: int) -> ImageAnswer:
        try:
            pixels_hwc = await self.decode(name, upload.content)
        except UnreadableImageError as error:
            self.metrics.images.labels(name, "unreadable").inc()
            return ImageAnswer(
                name=upload.name, label=None, confidence=None, rejected=False, top=[], error=error.reason
            )
        prediction = await self._batchers[name].predict(pixels_hwc)
        self.metrics.images.labels(name, "rejected" if prediction.rejected else "answered").inc()
        return _as_answer(upload.name, prediction, top)

    def describe(self, name: str) -> ModelAnswer:
        """What users should know about a model."""
        predictor = self.find(name)
        trained, acceptance = predictor.trained, predictor.acceptance
        rates = [acceptance.coverage, acceptance.accuracy] if acceptance else [None, None]
        coverage, accuracy = (Rate(value=r.value, low=r.low, high=r.high) if r else None for r in rates)
        return ModelAnswer(
            name=name,
            classes=list(trained.classes),
            backbone=trained.backbone,
            kind=trained.kind,
            width=trained.preprocessing.width,
            height=trained.preprocessing.height,
            validation_accuracy=trained.validation_accuracy,
            temperature=predictor.temperature,
            reject_below=predictor.reject_below,
            coverage=coverage,
            accuracy=accuracy,
            weights_sha256=trained.weights_sha256,
        )

    def _counting(self, name: str) -> "_Counting":
        return _Counting(self, name)


class _Counting:
    """Counts the batches of one model."""

    def __init__(self, models: ServedModels, name: str) -> None:
        self._models = models
        self._sizes = models.metrics.batch_images.labels(name)
        self._seconds = models.metrics.batch_seconds.labels(name)

    def __call__(self, size: int, seconds: float) -> None:
        self._sizes.observe(size)
        self._seconds.observe(seconds)
        self._models.room.note_speed(seconds / size)


def _stops() -> HTTPException:
    return HTTPException(503, "the server stops; nothing was done for this request", {"Retry-After": "10"})


def _as_answer(name: str, prediction: Prediction, top: int) -> ImageAnswer:
    best = [ClassProbability(label=label, probability=p) for label, p in prediction.best(top)]
    return ImageAnswer(
        name=name,
        label=prediction.label,
        confidence=prediction.confidence,
        rejected=prediction.rejected,
        top=best,
        error=None,
    )
