"""Connections: how many may be open, and how long each may let the server wait.

The queue bounds requests in progress, so that a connection costs little else than a descriptor. What has to be
prevented is that those who send nothing, or never finish, keep out those who do.
"""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from retop.serving.limits import Limits
from retop.serving.lingering import LingeringTransport
from retop.serving.metrics import ServerMetrics

ACCEPTED_AT_ONCE = 4
"""Connections that the event loop takes at a time, so that it looks at the first before it takes many more."""

BODY_LEEWAY_SECONDS = 2.0
"""The answer that a body was late has to come before its connection is closed."""

IDLE_SECONDS = 2.0
"""A connection that has answered makes room after this time only: clients that ask without pause send their next
request meanwhile, which would be lost."""

KEPT_CONNECTIONS = 16
"""Connections on which no body may be on the way, so that /live, /ready and /metrics get in whoever sends slowly."""


class Connections:
    """All open connections. When there is one too many, the one that has been idle for longest is closed.

    When bodies are on the way on too many, the one that has sent nothing for longest is.

    Args:
        most: that may be open.
        limits: times of the server.
        metrics: of the server.
    """

    def __init__(self, most: int, limits: Limits, metrics: ServerMetrics) -> None:
        self.limits = limits
        self._most = most
        self._metrics = metrics
        # In the order in which each was opened, or answered its last request.
        self._open: dict[Connection, float] = {}
        # In the order in which each has sent something.
        self._sending: dict[Connection, None] = {}
        self.lingering: dict[LingeringTransport, None] = {}
        self._most_sending = max(most - KEPT_CONNECTIONS, most // 2)

    @property
    def quiet(self) -> bool:
        """No request is in progress, and no client is about to send its next one."""
        return all(one.idle and since < one.loop.time() - IDLE_SECONDS for one, since in self._open.items())

    @property
    def crowded(self) -> bool:
        """Few more can be admitted: clients have to take turns."""
        return len(self._open) > self._most_sending

    def admit(self, connection: "Connection") -> bool:
        """Whether there is room for one more; none where every other has a request in progress, or had one just now."""
        if len(self._open) >= self._most:
            before = connection.loop.time() - IDLE_SECONDS
            idle = next((one for one, since in self._open.items() if one.idle and (one.fresh or since < before)), None)
            if idle is None:
                return False
            if idle.listening:
                # Its request may be on the way.
                self.refuse_for_now(idle, "to make room")
            else:
                self.close(idle, "to make room")
        self.renew(connection)
        return True

    def renew(self, connection: "Connection") -> None:
        """It begins to be idle now."""
        self._open.pop(connection, None)
        self._open[connection] = connection.loop.time()
        self._metrics.connections.set(len(self._open))

    def note_body(self, connection: "Connection", on_the_way: bool) -> None:
        """It has sent something, after which the rest of a body is still to come, or is not."""
        self._sending.pop(connection, None)
        if not on_the_way:
            return
        self._sending[connection] = None
        if len(self._sending) > self._most_sending:
            slowest = next(iter(self._sending))
            if slowest.cycle.response_started:
                self.close(slowest, "slow body")
            else:
                detail = "the body arrives too slowly while many others are on the way"
                self.refuse(slowest, "slow body", "408 Request Timeout", detail)

    def forget(self, connection: "Connection") -> None:
        """It is closed."""
        self._open.pop(connection, None)
        self._sending.pop(connection, None)
        self._metrics.connections.set(len(self._open))

    def close(self, connection: "Connection", reason: str) -> None:
        """Close it at once, whether or not the client takes what was sent."""
        self._metrics.connections_closed.labels(reason).inc()
        self.forget(connection)
        connection.transport.abort()

    def refuse_for_now(self, connection: "Connection", reason: str) -> None:
        """Answer that there is no room."""
        detail = "too many connections are open"
        self.refuse(connection, reason, "503 Service Unavailable", detail, "Retry-After: 2\r\n")

    def refuse(self, connection: "Connection", reason: str, status: str, detail: str, header: str = "") -> None:
        """Answer in place of the application, and close it."""
        self._metrics.connections_closed.labels(reason).inc()
        self.forget(connection)
        body = json.dumps({"detail": detail})
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{header}"
        connection.transport.write(f"{head}Connection: close\r\n\r\n{body}".encode("ascii"))
        connection.transport.close()


class Connection(H11Protocol):
    """uvicorn's connection, with an end to what it waits for.

    Args:
        connections: all of them.
        given: what uvicorn gives it.
    """

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self._awaited: tuple[object, ...] = ()
        self._clock: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._lingering: LingeringTransport | None = None

    @property
    def fresh(self) -> bool:
        """No request has come yet."""
        return not self.cycle

    @property
    def idle(self) -> bool:
        """No request is in progress."""
        return self.fresh or self.cycle.response_complete

    @property
    def listening(self) -> bool:
        """Whatever is sent now is the answer to the next request."""
        return self.conn.their_state is h11.IDLE and not self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or say that there is no room."""
        lingering = LingeringTransport(transport, self._connections.lingering, self.loop, self._awaits_more)
        self._lingering = lingering
        super().connection_made(lingering)  # type: ignore[arg-type]
        if self._connections.admit(self):
            self._watch()
        else:
            self._connections.refuse_for_now(self, "full")

    def data_received(self, data: bytes) -> None:
        """Read on; nobody wants to hear what comes after the end."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._connections.crowded and not self.idle:
            self.cycle.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._connections.renew(self)
        # The next request may be here already.
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        for clock in (self._clock, self._taking):
            if clock is not None:
                clock.cancel()
        self._connections.forget(self)
        super().connection_lost(exc)
        if self._lingering is not None:
            self._lingering.end()

    def _awaits_more(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def pause_writing(self) -> None:
        """The client does not take its answers; it may do so for as long as it may send a body."""
        super().pause_writing()
        seconds = self._connections.limits.body_seconds
        self._taking = self.loop.call_later(seconds, self._connections.close, self, "late answer")

    def resume_writing(self) -> None:
        """The client takes them after all."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()

    def _watch(self) -> None:
        """Set the clock for what the client has to send next; while that stays the same, it runs on."""
        state, limits = self.conn.their_state, self._connections.limits
        self._connections.note_body(self, state is h11.SEND_BODY)
        # Between two requests uvicorn has a clock of its own.
        header = state is h11.IDLE and (self.fresh or bool(self.conn.trailing_data[0]))
        awaited = (state, self.cycle, header)
        if self._awaited == awaited:
            return
        self._awaited = awaited
        if self._clock is not None:
            self._clock.cancel()
        if header:
            self._clock = self.loop.call_later(limits.header_seconds, self._end_late_header)
        elif state is h11.SEND_BODY:
            # One that is wanted is answered 408 before; this is for the rest of one that is not.
            seconds = limits.body_seconds + BODY_LEEWAY_SECONDS
            self._clock = self.loop.call_later(seconds, self._connections.close, self, "late body")

    def _end_late_header(self) -> None:
        if self.conn.trailing_data[0]:
            detail = f"the header took more than {self._connections.limits.header_seconds:g} s to arrive"
            self._connections.refuse(self, "late header", "408 Request Timeout", detail)
        else:
            self._connections.close(self, "late header")
