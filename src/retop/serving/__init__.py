"""Trained models over HTTP, and a page to try them."""

from retop.serving.limits import Limits
from retop.serving.server import serve_models

__all__ = ["Limits", "serve_models"]
