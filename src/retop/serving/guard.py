"""What every request passes: host, key, log line and counters."""

import hmac
import json
import time
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retop.serving.journal import LOG
from retop.serving.models import ServedModels

OPEN_PATHS = ("/", "/live", "/ready", "/page.css", "/page.js", "/docs", "/docs.js", "/openapi.json")
"""Paths without key: they tell nothing about models or images."""

LONGEST_PATH = 200
"""Characters of a path in the log."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """The outermost layer.

    Args:
        app: what comes after.
        models: for the state of the server and its metrics.
        api_key: that requests must carry; None for none.
        hosts: names under which the server answers; None for any. Without a key it is only this machine, so that a
            web page in the user's browser cannot reach the server under a name of its own.
        routes: templates of the routes, for the counters.
    """

    def __init__(
        self,
        app: ASGIApp,
        models: ServedModels,
        api_key: str | None,
        hosts: frozenset[str] | None,
        routes: Iterable[str],
    ) -> None:
        self._app = app
        self.models = models
        self._key = api_key.encode() if api_key is not None else None
        self._hosts = hosts
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge, pass on, and write down what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, request_id = time.perf_counter(), uuid.uuid4().hex[:12]
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                if self.models.stopping:
                    headers["Connection"] = "close"
            await send(message)

        try:
            refusal = self._refusal(scope)
            await (refusal or self._app)(scope, receive, note)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", None) or scope["path"]
            shown = route if route in self._routes else "other"
            self.models.metrics.requests.labels(shown, str(status)).inc()
            self.models.metrics.seconds.labels(shown).observe(seconds)
            LOG.info(
                json.dumps(
                    {
                        "time": time.time(),
                        "request": request_id,
                        "method": scope["method"],
                        "path": scope["path"][:LONGEST_PATH],
                        "status": status,
                        "seconds": round(seconds, 4),
                        "client": (scope.get("client") or ("",))[0],
                    }
                )
            )

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _host_name(headers.get("host", "")) not in self._hosts:
            detail = "this server answers on this machine only, under localhost"
            return JSONResponse({"detail": detail}, 421)
        # To a browser every port of localhost, and every subdomain of a domain, is the same site: a page of another
        # server on this machine is as strange as any other. Only our own page, or no page at all, may ask for work;
        # programs send no such header.
        if _from_other_page(headers) and scope["method"] not in ("GET", "HEAD"):
            return JSONResponse({"detail": "requests from pages of other servers are refused"}, 403)
        if self._key is not None and scope["path"] not in OPEN_PATHS and not self._holds_key(headers):
            detail = "send the API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})
        return None

    def _holds_key(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # The comparison takes as long whatever the key is.
        return self._key is not None and hmac.compare_digest(given.strip().encode(), self._key)


def _from_other_page(headers: Headers) -> bool:
    """Whether a page of another server asks; older browsers, and all without TLS, name only the page's origin."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _host_name(host: str) -> str:
    """Without port and brackets, in small letters, and without the dot in which a full name may end."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    if host.count(":") > 1:
        return host.lower()
    return (host.rpartition(":")[0] if ":" in host else host).lower().removesuffix(".")
