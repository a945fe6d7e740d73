"""A large body is taken apart while the server answers others."""

import asyncio

import pytest

pytest.importorskip("fastapi")
from fastapi import Request

from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics
from retop.serving.room import Room
from retop.serving.uploads import read_uploads

IMAGE_BYTES = 2**20
IMAGES = 8


def test_others_get_their_turn_while_a_form_is_read() -> None:
    image = bytes(range(256)) * (IMAGE_BYTES // 256)
    part = b'--a\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n' + image + b"\r\n"
    body = part * IMAGES + b"--a--\r\n"
    headers = [(b"content-type", b"multipart/form-data; boundary=a"), (b"content-length", str(len(body)).encode())]
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, object]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def check() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async with Room(Limits(), ServerMetrics()).enter() as place:
            request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
            uploads = await read_uploads(request, Limits(), place)
        counting.cancel()
        assert [one.content for one in uploads] == [image] * IMAGES
        assert (place.num_images, place.num_bytes) == (IMAGES, len(body))
        return turns

    # Four at least for every MiB.
    assert asyncio.run(check()) >= 4 * IMAGES
