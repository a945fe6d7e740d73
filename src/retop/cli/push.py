"""`retop push`."""

from typing import Annotated

import typer

from retop.cli.predict import ModelArgument


def push(
    model: ModelArgument,
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and send nothing.")] = False,
) -> None:
    """Share a trained model on the Hugging Face hub, in its form and with a model card."""
    from retop import api

    pushed = api.push(model, repository, private=private, dry_run=dry_run)
    for name, content in pushed.files.items():
        typer.echo(f"{len(content):>12,}  {name}")
    typer.echo(f"nothing was sent to {pushed.address}" if dry_run else pushed.address)
