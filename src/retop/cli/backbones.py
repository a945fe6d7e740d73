"""`retop backbones`."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

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
    from retop.backbones import embedded_backbones, known_backbones

    entries, embedded = known_backbones(), embedded_backbones()
    if as_json:
        listed = [
            {"name": e.name, "timm": e.timm_name, "summary": e.summary, "embedded": e.name in embedded} for e in entries
        ]
        typer.echo(json.dumps(listed, indent=1))
        return
    for entry in entries:
        place = "; weights come with retop" if entry.name in embedded else ""
        typer.echo(f"{entry.name:16} {entry.timm_name:26} {entry.summary}{place}")
    typer.echo("\nAny other timm network works by its timm name, e.g. convnext_tiny or vit_small_patch16_224.")


def _embedded_text(name: str) -> str | None:
    from retop.backbones import find_embedded

    folder = find_embedded(name)
    return f"come with retop, {folder / 'card.md'}" if folder else None


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
        "weights": description.weights or _embedded_text(name) or _without_weights(name),
        "licence": description.license or "not stated",
        "not split": description.not_traceable,
    }
    for title, fact in facts.items():
        if fact:
            console.print(Text(f" {title + ':':10} {fact}"), soft_wrap=True)


def _without_weights(name: str) -> str:
    if name == "scratch":
        return "none: it always starts from random ones"
    return "none are published; give your own with --weights"
