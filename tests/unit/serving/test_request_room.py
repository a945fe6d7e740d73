"""What requests in progress hold together is bounded, and given back whatever becomes of them."""

import pytest

pytest.importorskip("fastapi")
from fastapi import HTTPException

from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics
from retop.serving.room import Room


def test_images_and_bytes_above_the_limit_are_refused_with_retry_after() -> None:
    room = Room(Limits(waiting_images=4, images=4, waiting_bytes=100, body_bytes=100), ServerMetrics())
    room.note_speed(1000.0)
    with room.enter() as first, room.enter() as second:
        first.take(num_images=1, num_bytes=60)
        with pytest.raises(HTTPException, match="3 images are waiting") as refused:
            second.take(num_images=2)
        assert refused.value.status_code == 429
        assert (refused.value.headers or {})["Retry-After"] == "60"
        with pytest.raises(HTTPException, match="60 bytes are waiting"):
            second.take(num_bytes=41)
        second.take(num_images=1, num_bytes=40)
        with pytest.raises(HTTPException, match="4 images"), room.enter():
            pytest.fail("there was no room")
        assert (room.num_images, room.num_bytes) == (4, 100)
    assert (room.num_images, room.num_bytes) == (0, 0)


def test_a_request_that_fails_gives_everything_back() -> None:
    room = Room(Limits(), ServerMetrics())
    with pytest.raises(KeyError), room.enter() as place:
        place.take(num_images=7, num_bytes=1000)
        raise KeyError("decoding")
    assert (room.num_images, room.num_bytes) == (0, 0)
