"""The command `netplumb schema`: for editors, and for checks of files where there is no netplumb."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `schema` to the application."""
    app.command("schema", epilog="Exit codes: 0 printed, 2 wrong usage.")(schema)


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help="attachment, networkpolicy, namespace (kinds of documents) or settings; all without."
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a document in state files, or of the settings file.

    With one in a file, an editor checks and completes what you write. At the top of a state file, say where it is:

    # yaml-language-server: $schema=/etc/netplumb/attachment.schema.json
    """
    from netplumb.models.schemas import DOCUMENTS
    from netplumb.models.schemas import schema as schema_of

    if kind is not None and kind.lower() not in DOCUMENTS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(DOCUMENTS)}", param_hint="KIND")
    printed = schema_of(kind.lower()) if kind is not None else {name: schema_of(name) for name in DOCUMENTS}
    typer.echo(json.dumps(printed, indent=2, ensure_ascii=False))
