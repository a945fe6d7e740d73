"""A server from command line options to its end."""

import asyncio
import ipaddress
import socket
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from retop.errors import ServingError, UsageError
from retop.predictor import Predictor
from retop.serving.app import create_app
from retop.serving.connections import ACCEPTED_AT_ONCE, Connection, Connections
from retop.serving.descriptors import most_connections
from retop.serving.guard import LOOPBACK
from retop.serving.journal import LOG, Sparing, log_to_stderr
from retop.serving.limits import Limits
from retop.serving.models import ServedModels

LEAST_KEY_LENGTH = 16
BACKLOG = 1024
"""Connections that the system holds until the server takes them."""

LAST_CALL_SECONDS = 0.5
LAST_WORDS_SECONDS = 5
"""Time for the last questions, and to take the last answers, for clients that are slow to."""


def serve_models(
    predictors: dict[str, Predictor],
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: Path | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve until the signal to stop.

    Args:
        predictors: the models by name.
        host: address to listen on; anything but this machine takes a key.
        port: 0 for a free one.
        api_key_file: holds the key that requests must carry, at least 16 characters.
        limits: of the server.

    Raises:
        UsageError: the key is missing or too short.
        ServingError: the address cannot be had, or too few files may be open.
    """
    key = read_api_key(api_key_file) if api_key_file is not None else None
    if key is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} can be reached from other machines; give --api-key-file FILE with a key of at least "
            f"{LEAST_KEY_LENGTH} characters, or leave --host out"
        )
    limits = limits or Limits()
    guard = create_app(predictors, limits, key, None if key is not None else LOOPBACK | {host.lower()})
    sparing = log_to_stderr()
    listener = _listen(host, port)
    connections = Connections(most_connections(limits), limits, guard.models.metrics)
    config = uvicorn.Config(
        guard,
        http=partial(Connection, connections),  # type: ignore[arg-type]
        ws="none",
        backlog=ACCEPTED_AT_ONCE,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_WORDS_SECONDS,
        timeout_keep_alive=15,
        lifespan="on",
    )
    where = f"[{host}]" if ":" in host else host
    LOG.info('{"event": "listening", "address": "http://%s:%d"}', where, listener.getsockname()[1])
    _Server(config, guard.models, connections, sparing).run(sockets=[listener])


def read_api_key(file: Path) -> str:
    """The key in a file.

    Args:
        file: text with one line.

    Returns:
        The key without surrounding space.

    Raises:
        UsageError: the file cannot be read, or the key is too short or not ASCII.
    """
    try:
        key = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--api-key-file {file} cannot be read: {error}") from error
    if len(key) < LEAST_KEY_LENGTH or not key.isprintable() or " " in key:
        raise UsageError(
            f"--api-key-file {file} must hold one key of at least {LEAST_KEY_LENGTH} characters without spaces; it has "
            f"{len(key)}"
        )
    return key


def is_loopback(host: str) -> bool:
    """Whether an address belongs to this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """uvicorn, ending so that every request which was accepted is answered."""

    def __init__(
        self, config: uvicorn.Config, models: ServedModels, connections: Connections, sparing: Sparing
    ) -> None:
        super().__init__(config)
        self._models = models
        self._connections = connections
        self._sparing = sparing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal to stop: say so in /ready and close connections after their answer."""
        self._models.stopping = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; uvicorn's backlog is also how many it takes at once, which are few."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, new requests with 503 meanwhile; then listen no more.

        Those who come again with their next request as soon as the last one is answered, and those who have just
        connected, are left the time to hear of it.
        """
        await self._models.drain(lambda: self.force_exit)
        await asyncio.sleep(LAST_CALL_SECONDS)
        end = asyncio.get_running_loop().time() + LAST_WORDS_SECONDS
        await self._wait_until_quiet(end)
        for server in self.servers:
            server.close()
        await self._wait_until_quiet(end)
        await super().shutdown(sockets)
        # The signal ends the process hereafter.
        self._sparing.flush()

    async def _wait_until_quiet(self, end: float) -> None:
        while not (self._connections.quiet or self.force_exit) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        raise ServingError(f"{host}:{port} cannot be listened on: {error}; choose another --port or --host") from error
    listener.set_inheritable(False)
    return listener
