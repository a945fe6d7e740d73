"""The command line. Each command has a file of its own: parse, call the API, print."""

from retop.cli.app import main

__all__ = ["main"]
