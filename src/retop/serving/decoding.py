"""The decoder processes, as seen from the server."""

# H, W

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock, Timer

import numpy as np
import numpy.typing as npt

from retop.data.frames import end_process, read_frame, write_frame
from retop.errors import ServingError, UnreadableImageError
from retop.records import Preprocessing
from retop.schema import to_plain
from retop.serving.limits import Limits

START_SECONDS = 60.0


class DecoderPool:
    """Processes that decode; one that hangs, dies or grows is replaced, and an image that kills two is refused.

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
        # A place without a process gets one when its turn comes, so that no place is ever lost.
        self._idle: SimpleQueue[_Decoder | None] = SimpleQueue()
        self._lock = Lock()
        self.replaced = 0
        started: list[_Decoder] = []
        try:
            for _ in range(limits.decoders):
                started.append(_Decoder(preprocessings, limits))
            for decoder in started:
                decoder.wait_ready()
                self._idle.put(decoder)
        except ServingError:
            for decoder in started:
                decoder.end()
            raise

    def submit(self, content: bytes, model: int) -> "Future[npt.NDArray[np.uint8]]":
        """Decode one image.

        Args:
            content: the image's file.
            model: number of the model whose preprocessing is used.

        Returns:
            The pixels [H, W, 3] to come, an `UnreadableImageError`, or a `ServingError` where no process can be had.
        """
        return self._threads.submit(self._decode, content, model)

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            if (decoder := self._idle.get()) is not None:
                decoder.end()

    def _decode(self, content: bytes, model: int) -> npt.NDArray[np.uint8]:
        decoder, frame, timed_out = self._idle.get(), None, False
        try:
            # One that dies may have been dead before: the system kills what it likes when memory is short.
            for _ in range(2):
                decoder = decoder or self._started()
                frame, timed_out = decoder.ask(model.to_bytes(4, "big"), content), decoder.timed_out
                decoder = self._kept(decoder)
                if frame is not None or timed_out:
                    break
        finally:
            self._idle.put(decoder)
        if frame is None:
            late = f"decoding it takes more than {self._limits.decode_seconds:g} s"
            raise UnreadableImageError("image", late if timed_out else "decoding it ends its process")
        if frame[:1] == b"-":
            raise UnreadableImageError("image", frame[1:].decode())
        preprocessing = self._preprocessings[model]
        return np.frombuffer(frame, np.uint8, offset=1).reshape(preprocessing.height, preprocessing.width, 3)

    def _started(self) -> "_Decoder":
        decoder = _Decoder(self._preprocessings, self._limits)
        decoder.wait_ready()
        return decoder

    def _kept(self, decoder: "_Decoder") -> "_Decoder | None":
        if decoder.alive:
            return decoder
        decoder.end()
        with self._lock:
            self.replaced += 1
        return None


class _Decoder:
    """One process.

    Raises:
        ServingError: it cannot be started.
    """

    def __init__(self, preprocessings: list[Preprocessing], limits: Limits) -> None:
        settings = {
            "preprocessings": [to_plain(one) for one in preprocessings],
            "memory_bytes": limits.decode_bytes,
            "pixels": limits.pixels,
        }
        self._seconds = limits.decode_seconds
        self.alive, self.timed_out = False, False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "retop.serving.decoder", json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # One image needs one thread; numpy would start as many as there are cores.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                # Ctrl-C is for the server, which ends its decoders when no request needs them any more.
                start_new_session=True,
            )
        except OSError as error:
            raise ServingError(f"no decoder process can be started: {error}") from error

    def wait_ready(self) -> None:
        """Wait until the process has loaded what it needs.

        Raises:
            ServingError: it ended instead.
        """
        if self._within(START_SECONDS) != b"ready":
            self.end()
            raise ServingError(
                f"a decoder process ended with code {self._process.returncode} as soon as it was started"
            )
        self.alive = True

    def ask(self, *parts: bytes) -> bytes | None:
        """The answer to one frame; None where the process took too long or died."""
        frame = self._within(self._seconds, *parts)
        self.alive = frame is not None and self._process.poll() is None
        return frame

    def _within(self, seconds: float, *parts: bytes) -> bytes | None:
        """Send a frame, if there is one, and read one; the process is killed when the time is over."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = Timer(seconds, self._give_up)
        timer.start()
        try:
            if parts:
                write_frame(self._process.stdin, *parts)
            return read_frame(self._process.stdout)
        except OSError:
            return None
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self.timed_out = True
        self._process.kill()

    def end(self) -> None:
        """End the process."""
        end_process(self._process)
