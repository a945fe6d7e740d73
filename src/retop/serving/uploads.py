"""From a request to image files, whatever form they come in."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from retop.serving.limits import Limits
from retop.serving.room import Place

_PASSING_BYTES, _PASSING_SECONDS = 256 * 2**20, 5.0
_CHUNK_BYTES = 256 * 2**10
"""Of a form that are read at a time; some milliseconds at most."""

FORMS = "multipart/form-data with files named 'images', application/json with {\"images\": [base64, ...]}, or image/*"


@dataclass(frozen=True)
class Upload:
    """One image as it was sent."""

    name: str
    """File name, or its place in the request."""

    content: bytes
    """The file."""


async def read_uploads(request: Request, limits: Limits, place: Place) -> list[Upload]:
    """The images of a request.

    Args:
        request: its body is not read yet.
        limits: bytes, images and time.
        place: of the request; it comes to hold what is read, and is given up when the client goes away.

    Returns:
        At least one image, not decoded yet.

    Raises:
        HTTPException: 408 too slow; 413 too much; 415 of no known form; 422 not what the form promises; 429 too much at
            the moment.
    """
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await read_body(request, limits.body_bytes, place)
    except TimeoutError as error:
        raise HTTPException(408, f"the body took more than {limits.body_seconds:g} s to arrive") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the client went away") from error
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _from_form(request, body, limits)
    elif kind == "application/json":
        # Large ones take a while, in which the server has to answer others.
        uploads = await asyncio.to_thread(_from_json, body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        uploads = [Upload("image", body)]
    else:
        raise HTTPException(415, f"the body has the content type {kind or 'none'!r}; send {FORMS}")
    if not uploads:
        raise HTTPException(422, f"the request holds no image; send {FORMS}")
    if len(uploads) > limits.images:
        raise HTTPException(413, f"{len(uploads)} images in one request; at most {limits.images} are taken")
    place.take(num_images=len(uploads))
    place.watch(request.receive)
    return uploads


async def read_body(request: Request, most_bytes: int, place: Place) -> bytes:
    """The body, unless it is too large; a chunked one is given up as soon as it is.

    Raises:
        HTTPException: 413, 429.
    """
    refusal = HTTPException(413, f"the body is larger than {most_bytes:,} bytes", {"Connection": "close"})
    text = request.headers.get("content-length", "")
    announced = int(text) if text.isdecimal() else 0
    if announced > most_bytes:
        await _let_pass(request.stream())
        raise refusal
    place.judge(num_bytes=announced)
    body = bytearray()
    stream = request.stream()
    async for chunk in stream:
        body += chunk
        if len(body) > most_bytes:
            body.clear()
            await _let_pass(stream)
            raise refusal
        place.take(num_bytes=len(chunk))
    return bytes(body)


async def _let_pass(stream: AsyncGenerator[bytes, None]) -> None:
    """Throw the rest of a refused body away, for a while.

    Most clients send all of it before they look for an answer; a connection that is closed under them is all they see.
    """
    left = _PASSING_BYTES
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_PASSING_SECONDS):
            async for chunk in stream:
                left -= len(chunk)
                if left < 0:
                    return


async def _from_form(request: Request, body: bytes, limits: Limits) -> list[Upload]:
    async def stream() -> AsyncGenerator[bytes, None]:
        # Large ones take a while, in which the server has to answer others.
        for start in range(0, len(body), _CHUNK_BYTES):
            yield body[start : start + _CHUNK_BYTES]
            await asyncio.sleep(0)
        yield b""

    parser = MultiPartParser(
        request.headers, stream(), max_files=limits.images + 1, max_fields=16, max_part_size=limits.body_bytes
    )
    # The body is in memory already; nothing of it shall go to disk.
    parser.spool_max_size = limits.body_bytes
    try:
        form = await parser.parse()
    except MultiPartException as error:
        too_many = "Too many files" in error.message
        raise HTTPException(413 if too_many else 422, f"the form cannot be read: {error.message}") from error
    except (KeyError, ValueError, LookupError) as error:
        raise HTTPException(422, f"the form cannot be read: {error}") from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    uploads = [Upload(_name(file, place), await file.read()) for place, file in enumerate(files)]
    await form.close()
    return uploads


def _name(file: UploadFile, place: int) -> str:
    """The file's name, in a form that can be answered: charsets of a client's choice bring halves of characters."""
    return (file.filename or str(place)).encode("utf-8", "replace").decode()


def _from_json(body: bytes) -> list[Upload]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"the body is not JSON: {error}") from error
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise HTTPException(422, 'the body should be {"images": [base64, ...]}')
    uploads = []
    for place, image in enumerate(images):
        # A data URL is what browsers make of a file.
        text = image.partition(",")[2] if image.startswith("data:") else image
        try:
            uploads.append(Upload(str(place), base64.b64decode(text, validate=True)))
        except (binascii.Error, ValueError) as error:
            raise HTTPException(422, f"images[{place}] is not base64: {error}") from error
    return uploads
