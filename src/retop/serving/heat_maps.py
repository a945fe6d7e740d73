"""The lane of heat maps: few wait, one at a time is made, and predictions go first."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from fastapi import HTTPException
from PIL import Image

from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics


class HeatMaps:
    """Heat maps that wait for the networks' thread. A prediction that comes waits for one of them at most.

    Args:
        limits: of the server.
        thread: the one thread in which networks run.
        metrics: of the server.
    """

    def __init__(self, limits: Limits, thread: ThreadPoolExecutor, metrics: ServerMetrics) -> None:
        self._limits = limits
        self._thread = thread
        self._metrics = metrics
        self._num_requests = 0
        self._seconds = 1.0
        self._num_predictions = 0
        self._no_prediction = asyncio.Event()
        self._no_prediction.set()
        self._waiting: asyncio.Queue[tuple[Callable[[], Image.Image], asyncio.Future[Image.Image]]] = asyncio.Queue()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """A place in the lane, from when the body has been read.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        if self._num_requests >= self._limits.heat_maps:
            raise self._refusal(f"{self._num_requests} heat maps are waiting already")
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Begin no heat map meanwhile: a prediction is under way."""
        self._num_predictions += 1
        self._no_prediction.clear()
        try:
            yield
        finally:
            self._num_predictions -= 1
            if not self._num_predictions:
                self._no_prediction.set()

    async def make(self, work: Callable[[], Image.Image]) -> Image.Image:
        """Make one when its turn comes.

        Args:
            work: runs in the networks' thread.

        Raises:
            HTTPException: 429 with Retry-After where predictions leave no time for it.
        """
        future: asyncio.Future[Image.Image] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((work, future))
        try:
            async with asyncio.timeout(self._limits.heat_map_seconds):
                return await future
        except TimeoutError as error:
            raise self._refusal("predictions go first, and leave no time for heat maps") from error

    async def run(self) -> None:
        """Make them until cancelled; those whose request has ended are left out."""
        while True:
            work, future = await self._waiting.get()
            while self._num_predictions:
                await self._no_prediction.wait()
            if future.done():
                continue
            began = time.perf_counter()
            try:
                image = await asyncio.get_running_loop().run_in_executor(self._thread, work)
            except Exception as error:  # noqa: BLE001 - the request gets it; the lane must go on
                if not future.done():
                    future.set_exception(error)
                continue
            self._seconds = time.perf_counter() - began
            self._metrics.heat_maps.inc()
            if not future.done():
                future.set_result(image)

    def _refusal(self, detail: str) -> HTTPException:
        seconds = max(1, round(self._num_requests * self._seconds))
        return HTTPException(429, detail, {"Retry-After": str(min(seconds, round(self._limits.heat_map_seconds) or 1))})
