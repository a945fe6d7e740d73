"""Requests that arrive together go through the network together."""

# N images of a batch, K classes, H, W

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from retop.predictor import Prediction, Predictor
from retop.serving.limits import Limits


class Batcher:
    """One model's queue. While the network computes a batch, the next one gathers.

    Args:
        predictor: the model.
        limits: greatest batch and how long to linger.
        thread: the one thread in which networks run, so that models do not fight for cores.
        on_batch: called with the size and the seconds of every batch.
    """

    def __init__(
        self,
        predictor: Predictor,
        limits: Limits,
        thread: ThreadPoolExecutor,
        on_batch: Callable[[int, float], None],
    ) -> None:
        self.predictor = predictor
        self._limits = limits
        self._thread = thread
        self._on_batch = on_batch
        self._waiting: asyncio.Queue[tuple[npt.NDArray[np.uint8], asyncio.Future[Prediction]]] = asyncio.Queue()

    async def predict(self, pixels_hwc: npt.NDArray[np.uint8]) -> Prediction:
        """The answer for one decoded image.

        Args:
            pixels_hwc: [H, W, 3], resized and cropped.

        Returns:
            The prediction; its path is empty.
        """
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((pixels_hwc, future))
        return await future

    async def warm_up(self) -> float:
        """Compute the greatest batch and the smallest: their memory is taken, or found missing, before any request.

        Returns:
            Seconds an image in the greatest batch; the first time is no faster than later ones.
        """
        size = self.predictor.trained.preprocessing
        blank = np.zeros((size.height, size.width, 3), np.uint8)
        seconds = []
        for count in (self._limits.batch, 1):
            began = time.perf_counter()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, [blank] * count)
            seconds.append((time.perf_counter() - began) / count)
        return seconds[0]

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            first = await self._waiting.get()
            if self._limits.linger_seconds and self._waiting.empty():
                await asyncio.sleep(self._limits.linger_seconds)
            # Those whose request has ended meanwhile take no place.
            batch = [item for item in (first,) if not item[1].cancelled()]
            while len(batch) < self._limits.batch and not self._waiting.empty():
                if not (item := self._waiting.get_nowait())[1].cancelled():
                    batch.append(item)
            if not batch:
                continue
            began = time.perf_counter()
            try:
                answers = await loop.run_in_executor(self._thread, self._compute, [pixels for pixels, _ in batch])
            except Exception as error:  # noqa: BLE001 - the requests get it; the queue must go on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            self._on_batch(len(batch), time.perf_counter() - began)
            for (_, future), prediction in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(prediction)

    def _compute(self, pixels: list[npt.NDArray[np.uint8]]) -> list[Prediction]:
        return list(self.predictor.answer([""] * len(pixels), list(pixels)))
