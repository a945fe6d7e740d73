"""Trained models over HTTP, and a page to try them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retop.serving.limits import Limits
    from retop.serving.server import serve_models

__all__ = ["Limits", "serve_models"]


def __getattr__(name: str) -> Any:
    # Decoders are processes of this package that need neither torch nor the server.
    if name == "Limits":
        from retop.serving.limits import Limits

        return Limits
    if name == "serve_models":
        from retop.serving.server import serve_models

        return serve_models
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
