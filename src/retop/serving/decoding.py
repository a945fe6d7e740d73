"""The decoder processes, as seen from the server."""

# H, W

import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock, Timer

import numpy as np
import numpy.typing as npt

from retop.data.frames import read_frame, write_frame
from retop.errors import ServingError, UnreadableImageError
from retop.records import Preprocessing
from retop.schema import to_plain
from retop.serving.limits import Limits


class DecoderPool:
    """Processes that decode; one that hangs, dies or grows is replaced, and its image is refused.

    Args:
        preprocessings: of the models, in their order.
        limits: number, memory, time and pixels.

    Raises:
        ServingError: no decoder can be started.
    """

    def __init__(self, preprocessings: list[Preprocessing], limits: Limits) -> None:
        self._preprocessings = preprocessings
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.decoders, thread_name_prefix="retop-decode")
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        self._lock = Lock()
        self.replaced = 0
        started = [self._start() for _ in range(limits.decoders)]
        for decoder in started:
            decoder.wait_ready()
            self._idle.put(decoder)

    def submit(self, content: bytes, model: int) -> "Future[npt.NDArray[np.uint8]]":
        """Decode one image.

        Args:
            content: the image's file.
            model: number of the model whose preprocessing is used.

        Returns:
            The pixels [H, W, 3] to come, or an `UnreadableImageError`.
        """
        return self._threads.submit(self._decode, content, model)

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()

    def _start(self) -> "_Decoder":
        return _Decoder(self._preprocessings, self._limits)

    def _decode(self, content: bytes, model: int) -> npt.NDArray[np.uint8]:
        decoder = self._idle.get()
        try:
            frame = decoder.ask(model.to_bytes(4, "big"), content)
        finally:
            if not decoder.alive:
                decoder.end()
                decoder = self._start()
                decoder.wait_ready()
                with self._lock:
                    self.replaced += 1
            self._idle.put(decoder)
        if frame is None:
            raise UnreadableImageError(
                "image", f"decoding it took more than {self._limits.decode_seconds:g} s or failed"
            )
        if frame[:1] == b"-":
            raise UnreadableImageError("image", frame[1:].decode())
        preprocessing = self._preprocessings[model]
        return np.frombuffer(frame, np.uint8, offset=1).reshape(preprocessing.height, preprocessing.width, 3)


class _Decoder:
    """One process."""

    def __init__(self, preprocessings: list[Preprocessing], limits: Limits) -> None:
        settings = {
            "preprocessings": [to_plain(one) for one in preprocessings],
            "memory_bytes": limits.decode_bytes,
            "pixels": limits.pixels,
        }
        self._seconds = limits.decode_seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "retop.serving.decoder", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the server, which ends its decoders when no request needs them any more.
            start_new_session=True,
        )
        self.alive = True

    def wait_ready(self) -> None:
        """Wait until the process has loaded what it needs.

        Raises:
            ServingError: it ended instead.
        """
        assert self._process.stdout is not None
        if read_frame(self._process.stdout) != b"ready":
            raise ServingError(f"a decoder process ended with code {self._process.wait()} as soon as it was started")

    def ask(self, *parts: bytes) -> bytes | None:
        """The answer to one frame; None where the process took too long or died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = Timer(self._seconds, self._process.kill)
        timer.start()
        try:
            write_frame(self._process.stdin, *parts)
            frame = read_frame(self._process.stdout)
        except OSError:
            frame = None
        finally:
            timer.cancel()
        self.alive = frame is not None and self._process.poll() is None
        return frame

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # What was still to be written to a dead process is lost, as it should be.
                    continue
