"""Decoder processes: what kills or stalls them costs one image at most, and no place of the pool."""

from collections.abc import Iterator
from concurrent.futures import Future
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from images import draw_shape
from retop.errors import ServingError, UnreadableImageError, UsageError
from retop.records import Preprocessing
from retop.serving import decoding
from retop.serving.decoding import DecoderPool
from retop.serving.limits import Limits

PREPROCESSING = Preprocessing(64, 64, 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    opened = DecoderPool([PREPROCESSING], Limits(decoders=1, decode_seconds=3.0))
    yield opened
    opened.close()


def png(side: int = 96) -> bytes:
    content = BytesIO()
    draw_shape("disc", 0, side).save(content, "PNG")
    return content.getvalue()


def decoder_of(pool: DecoderPool) -> decoding._Decoder:
    decoder = pool._idle.get()
    pool._idle.put(decoder)
    assert decoder is not None
    return decoder


def test_an_image_is_not_blamed_for_a_decoder_that_was_dead_before(pool: DecoderPool) -> None:
    whole = pool.submit(png(), 0).result(60)
    decoder_of(pool)._process.kill()
    assert np.array_equal(pool.submit(png(), 0).result(60), whole)
    assert pool.replaced == 1


def test_an_image_that_takes_too_long_is_refused_and_the_next_one_answered(pool: DecoderPool) -> None:
    # A process that stands still is what an endless decoding looks like from here.
    decoder_of(pool)._process.send_signal(19)
    with pytest.raises(UnreadableImageError, match="more than 3 s"):
        pool.submit(png(), 0).result(60)
    assert pool.submit(png(), 0).result(60).shape == (64, 64, 3)


def test_where_no_process_can_be_had_no_place_is_lost(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    decoder_of(pool)._process.kill()
    with monkeypatch.context() as broken:
        broken.setattr(decoding.subprocess, "Popen", refuse)
        refused: list[Future[np.ndarray]] = [pool.submit(png(), 0) for _ in range(3)]
        for one in refused:
            with pytest.raises(ServingError, match="no decoder process can be started"):
                one.result(60)
    assert pool.submit(png(), 0).result(60).shape == (64, 64, 3)


def test_pixels_above_the_limit_are_refused_with_the_reason() -> None:
    small = DecoderPool([PREPROCESSING], Limits(decoders=1, pixels=5_000))
    content = BytesIO()
    Image.new("RGB", (100, 100)).save(content, "PNG")
    try:
        with pytest.raises(UnreadableImageError, match="100 x 100 pixels; at most 5,000"):
            small.submit(content.getvalue(), 0).result(60)
    finally:
        small.close()


@pytest.mark.parametrize("limits", [{"images": 8, "waiting_images": 4}, {"body_bytes": 2**30}])
def test_limits_that_refuse_a_request_for_ever_are_refused_themselves(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="lower the first or raise the second"):
        Limits(**limits)  # type: ignore[arg-type]
