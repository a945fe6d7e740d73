"""What requests in progress hold together is bounded, and given back whatever becomes of them."""

import asyncio

import pytest

pytest.importorskip("fastapi")
from fastapi import HTTPException

from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics
from retop.serving.room import Room


def test_images_and_bytes_above_the_limit_are_refused_with_retry_after() -> None:
    async def check() -> None:
        room = Room(Limits(waiting_images=4, images=4, waiting_bytes=100, body_bytes=100), ServerMetrics())
        room.note_speed(1000.0)
        async with room.enter() as first, room.enter() as second:
            # Places alone hold nothing: the bodies may never come.
            assert room.num_images == 0
            first.take(num_images=2, num_bytes=60)
            second.take(num_images=1)
            with pytest.raises(HTTPException, match="3 images are waiting") as refused:
                second.take(num_images=2)
            assert refused.value.status_code == 429
            assert (refused.value.headers or {})["Retry-After"] == "60"
            with pytest.raises(HTTPException, match="60 bytes are waiting"):
                second.take(num_bytes=41)
            second.take(num_images=1, num_bytes=40)
            with pytest.raises(HTTPException, match="4 images"):
                async with room.enter():
                    pytest.fail("there was no room")
            assert (room.num_images, room.num_bytes, room.num_requests) == (4, 100, 2)
        assert (room.num_images, room.num_bytes, room.num_requests) == (0, 0, 0)

    asyncio.run(check())


def test_a_request_that_fails_gives_everything_back() -> None:
    async def check() -> None:
        room = Room(Limits(), ServerMetrics())
        with pytest.raises(KeyError):
            async with room.enter() as place:
                place.take(num_images=7, num_bytes=1000)
                raise KeyError("decoding")
        assert (room.num_images, room.num_bytes, room.num_requests) == (0, 0, 0)

    asyncio.run(check())


def test_requests_that_are_given_up_end_where_they_stand_with_the_refusal_once() -> None:
    async def check() -> None:
        room = Room(Limits(), ServerMetrics())
        reached: list[int] = []

        async def wait_for_ever() -> None:
            async with room.enter():
                reached.append(room.num_requests)
                await asyncio.Event().wait()

        waiting = [asyncio.create_task(wait_for_ever()) for _ in range(3)]
        await asyncio.sleep(0)
        room.give_up(HTTPException(503, "first"))
        room.give_up(HTTPException(503, "second"))
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(one, "detail", one) for one in ended] == ["first"] * 3
        assert reached == [1, 2, 3]
        assert (room.num_images, room.num_requests) == (0, 0)

    asyncio.run(check())


def test_a_time_out_of_the_request_itself_is_no_refusal() -> None:
    async def check() -> None:
        with pytest.raises(TimeoutError):
            async with Room(Limits(), ServerMetrics()).enter():
                raise TimeoutError

    asyncio.run(check())
