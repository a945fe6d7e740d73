"""`retop cache`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from retop.cli.options import JsonOption
from retop.cli.reading import read_cache
from retop.errors import UsageError


def cache(
    location: Annotated[str, typer.Option("--cache", metavar="on|DIR", help="Another store than the usual.")] = "on",
    clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show the activation store, or clear it."""
    from retop.activations import ActivationStore

    chosen = read_cache(location)
    if chosen is False:
        raise UsageError("--cache off names no store; give on (the usual store) or a folder")
    store = ActivationStore(None if chosen is True else Path(chosen))
    if clear:
        freed = store.clear()
        summary = {"folder": str(store.folder), "freed_bytes": freed}
        typer.echo(json.dumps(summary, indent=1) if json_ else f"freed {freed / 2**20:,.1f} MiB")
        return
    entries = store.entries()
    if json_:
        rows = [
            {"about": r.about, "rows": r.num_rows, "bytes": r.num_bytes, "complete": r.complete} for _, r in entries
        ]
        state = {"folder": str(store.folder), "limit_bytes": store.limit_bytes, "used_bytes": store.used_bytes()}
        typer.echo(json.dumps(state | {"entries": rows}, indent=1))
        return
    for _, record in entries:
        unfinished = "" if record.complete else f"  ({record.rows_done:,} so far)"
        typer.echo(f"{record.num_bytes / 2**20:10,.1f} MiB  {record.num_rows:8,} rows  {record.about}{unfinished}")
    typer.echo(
        f"{store.used_bytes() / 2**20:10,.1f} MiB  in {store.folder}; it may hold {store.limit_bytes / 2**30:,.1f} GiB"
    )
