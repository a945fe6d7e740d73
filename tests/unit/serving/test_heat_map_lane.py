"""Heat maps wait for predictions, and a prediction for one of them at most."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from fastapi import HTTPException

from retop.predictor import Prediction, Predictor
from retop.serving.batching import Batcher
from retop.serving.heat_maps import HeatMaps
from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    opened = ThreadPoolExecutor(1)
    yield opened
    opened.shutdown()


def test_predictions_go_before_all_heat_maps_but_one(trained_run: Path, thread: ThreadPoolExecutor) -> None:
    done: list[str] = []

    def draw() -> Image.Image:
        done.append("heat map")
        return Image.new("RGB", (1, 1))

    async def check() -> None:
        limits = Limits(batch=4)
        lane = HeatMaps(limits, thread, ServerMetrics())
        batcher = Batcher(Predictor(trained_run), limits, thread, lambda size, _: done.extend(["prediction"] * size))

        async def predict() -> Prediction:
            with lane.put_off():
                return await batcher.predict(np.zeros((64, 64, 3), np.uint8))

        free = threading.Event()
        thread.submit(free.wait)
        workers = [asyncio.create_task(worker.run()) for worker in (lane, batcher)]
        maps = [asyncio.create_task(lane.make(draw)) for _ in range(5)]
        # The first one stands before the thread already.
        await asyncio.sleep(0.05)
        predictions = [asyncio.create_task(predict()) for _ in range(10)]
        await asyncio.sleep(0.05)
        given_up = maps.pop()
        given_up.cancel()
        free.set()
        await asyncio.gather(*maps, *predictions)
        for worker in workers:
            worker.cancel()

    asyncio.run(check())
    assert done == ["heat map"] + ["prediction"] * 10 + ["heat map"] * 3


def test_heat_maps_above_the_limit_or_without_a_turn_are_429(thread: ThreadPoolExecutor) -> None:
    async def check() -> None:
        lane = HeatMaps(Limits(heat_maps=1, heat_map_seconds=0.1), thread, ServerMetrics())
        worker = asyncio.create_task(lane.run())
        with lane.enter():
            with pytest.raises(HTTPException, match="1 heat maps are waiting") as refused, lane.enter():
                pytest.fail("there was no room")
            assert int((refused.value.headers or {})["Retry-After"]) >= 1
            with lane.put_off(), pytest.raises(HTTPException, match="predictions go first"):
                await lane.make(lambda: Image.new("RGB", (1, 1)))
            assert (await lane.make(lambda: Image.new("RGB", (2, 1)))).size == (2, 1)
        with lane.enter():
            worker.cancel()

    asyncio.run(check())


def test_a_heat_map_that_fails_fails_alone(thread: ThreadPoolExecutor) -> None:
    def fail() -> Image.Image:
        raise ArithmeticError("no gradient")

    async def check() -> None:
        lane = HeatMaps(Limits(), thread, ServerMetrics())
        worker = asyncio.create_task(lane.run())
        with pytest.raises(ArithmeticError):
            await lane.make(fail)
        assert (await lane.make(lambda: Image.new("RGB", (2, 1)))).size == (2, 1)
        worker.cancel()

    asyncio.run(check())
