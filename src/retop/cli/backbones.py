"""`retop backbones`."""

import json
from typing import Annotated

import typer
from rich.console import Console

from retop.cli.options import JsonOption
from retop.schema import to_plain


def backbones(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this network's groups of layers.")] = None,
    json_: JsonOption = False,
) -> None:
    """List the networks that have short names, or show one network's groups."""
    if name is None:
        _list(json_)
    else:
        _show(name, json_)


def _list(as_json: bool) -> None:
    from retop.backbones import known_backbones

    entries = known_backbones()
    if as_json:
        typer.echo(json.dumps([{"name": e.name, "timm": e.timm_name, "summary": e.summary} for e in entries], indent=1))
        return
    for entry in entries:
        typer.echo(f"{entry.name:14} {entry.timm_name:26} {entry.summary}")
    typer.echo("\nAny other timm network works by its timm name, e.g. convnext_tiny or vit_small_patch16_224.")


def _show(name: str, as_json: bool) -> None:
    from retop.backbones import describe_backbone
    from retop.cli.tables import groups_table

    description = describe_backbone(name)
    if as_json:
        typer.echo(json.dumps(to_plain(description), indent=1))
        return
    console = Console()
    console.print(groups_table(name, description.groups, description.groups[-1].name))
    size = description.preprocessing
    facts = {
        "input": f"{size.width} x {size.height} pixels",
        "weights": description.weights or "none are published; give your own with --weights",
        "licence": description.license or "not stated",
        "not split": description.not_traceable,
    }
    for title, fact in facts.items():
        if fact:
            console.print(f" {title + ':':10} {fact}", markup=False, highlight=False, soft_wrap=True)
