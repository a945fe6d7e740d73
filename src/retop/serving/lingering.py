"""Connections that are closed, but for what their clients still send.

Were that not read, the system would answer it with a reset, which may take from the client the answer that it has not
read yet.
"""

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_SECONDS = 2.0
LINGERING_AT_ONCE = 16
"""The first is closed for good when there are more."""


class LingeringTransport:
    """A transport that goes on reading for a moment after it was closed.

    Args:
        transport: of the connection.
        lingering: all that are closed and still read.
        loop: that they run in.
        awaits: whether the client may still be sending something.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        lingering: dict["LingeringTransport", None],
        loop: asyncio.AbstractEventLoop,
        awaits: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._lingering = lingering
        self._loop = loop
        self._awaits = awaits
        self._clock: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is said or heard."""
        return self._clock is not None or self._transport.is_closing()

    def close(self) -> None:
        """Say no more; the client may still finish what it sends."""
        if self.is_closing():
            return
        if not self._awaits():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
            self._transport.resume_reading()
        except OSError:
            self._transport.close()
            return
        self._clock = self._loop.call_later(LINGER_SECONDS, self.end)
        self._lingering[self] = None
        if len(self._lingering) > LINGERING_AT_ONCE:
            next(iter(self._lingering)).end()

    def end(self) -> None:
        """Close it for good."""
        if self._clock is not None:
            self._clock.cancel()
        self._lingering.pop(self, None)
        self._transport.close()
