"""The commands `netplumb config show` and `netplumb schema`, and the flags that they share with `netplumb daemon`.

Each flag is said once, here. What needs pydantic is imported inside the functions, so that `netplumb --help` is quick.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    from reconciler.configuration import Configuration

_PANEL = "Settings, which win over NETPLUMB_… variables and the file"
_WIDE = 4096
"""Columns when the output is not a terminal: a script's lines are not to be wrapped."""

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file; /etc/netplumb/netplumb.yaml without it, if there."),
]
SocketFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--socket", help="The unix socket to serve on.", rich_help_panel=_PANEL)
]
DataDirFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where the store lies.", rich_help_panel=_PANEL)
]
StateFilesFlag: TypeAlias = Annotated[
    Path | None,
    typer.Option("--state-files", metavar="DIR", help="Directory of state files to watch.", rich_help_panel=_PANEL),
]
PoolFlag: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--pool",
        metavar="CIDR",
        help="Prefix to give addresses from. Repeatable, both families.",
        rich_help_panel=_PANEL,
    ),
]
ResyncFlag: TypeAlias = Annotated[
    float | None,
    typer.Option("--resync-s", help="Seconds between full comparisons with the kernel.", rich_help_panel=_PANEL),
]
MasqueradeFlag: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--masquerade/--no-masquerade", help="Masquerade what workloads send outside.", rich_help_panel=_PANEL
    ),
]
MtuFlag: TypeAlias = Annotated[
    int | None,
    typer.Option("--mtu", help="MTU of workloads' interfaces; 0 takes the uplink's.", rich_help_panel=_PANEL),
]
LogFormatFlag: TypeAlias = Annotated[
    Literal["text", "json"] | None, typer.Option("--log-format", help="How to log.", rich_help_panel=_PANEL)
]
LogLevelFlag: TypeAlias = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option("--log-level", help="The least severe level to log.", rich_help_panel=_PANEL),
]
Output: TypeAlias = Annotated[
    Literal["table", "json", "yaml"], typer.Option("--output", "-o", help="How to print the answer.")
]


def register(app: typer.Typer) -> None:
    """Add `config show` and `schema` to the application."""
    config = typer.Typer(no_args_is_help=True, help="The daemon's settings.")
    config.command("show")(show)
    app.add_typer(config, name="config")
    app.command("schema")(schema)


def given(
    *,
    socket: Path | None,
    data_dir: Path | None,
    state_files: Path | None,
    pool: list[str] | None,
    resync_s: float | None,
    masquerade: bool | None,
    mtu: int | None,
    log_format: str | None,
    log_level: str | None,
) -> dict[str, object]:
    """The flags that were given, by the name of the setting."""
    flags = {
        "socket": socket,
        "data_dir": data_dir,
        "state_files": state_files,
        "pools": pool or None,
        "resync_s": resync_s,
        "masquerade": masquerade,
        "mtu": mtu,
        "log_format": log_format,
        "log_level": log_level,
    }
    return {name: value for name, value in flags.items() if value is not None}


def load_or_exit(flags: dict[str, object], config: Path | None) -> Configuration:
    """The configuration; if it is wrong, a line on stderr for each mistake and exit 2."""
    from reconciler import configuration

    try:
        return configuration.load(flags, config, os.environ)
    except configuration.ConfigurationError as error:
        for line in error.lines:
            typer.echo(line, err=True)
        raise typer.Exit(2) from None


def show(
    config: Config = None,
    output: Output = "table",
    socket: SocketFlag = None,
    data_dir: DataDirFlag = None,
    state_files: StateFilesFlag = None,
    pool: PoolFlag = None,
    resync_s: ResyncFlag = None,
    masquerade: MasqueradeFlag = None,
    mtu: MtuFlag = None,
    log_format: LogFormatFlag = None,
    log_level: LogLevelFlag = None,
) -> None:
    """Show the settings that the daemon would run with, and where each comes from."""
    loaded = load_or_exit(
        given(
            socket=socket,
            data_dir=data_dir,
            state_files=state_files,
            pool=pool,
            resync_s=resync_s,
            masquerade=masquerade,
            mtu=mtu,
            log_format=log_format,
            log_level=log_level,
        ),
        config,
    )
    values = loaded.settings.model_dump(mode="json")
    if output == "table":
        _print_table(values, loaded)
        return
    data = {name: {"value": value, "from": loaded.origins[name]} for name, value in values.items()}
    typer.echo(_json(data) if output == "json" else _yaml(data), nl=False)


def schema() -> None:
    """Print the JSON Schemas of the settings file and of a state file's documents."""
    from models.settings import Settings
    from models.statefile import AttachmentDocument

    schemas = {"settings": Settings.model_json_schema(), "state_file": AttachmentDocument.model_json_schema()}
    typer.echo(_json(schemas), nl=False)


def _print_table(values: dict[str, object], loaded: Configuration) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("SETTING", "VALUE", "FROM", box=None, pad_edge=False)
    for name, value in values.items():
        origin = loaded.origins[name]
        table.add_row(Text(name), Text(_words(value)), Text(origin, style="dim" if origin == "default" else ""))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _words(value: object) -> str:
    """A value as a person would write it: `-` for none, a list without brackets."""
    match value:
        case None | []:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(_words(item) for item in value)
        case {"cidr": cidr, "reserved": reserved}:
            return f"{cidr} less {_words(reserved)}"
        case _:
            return str(value)


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _yaml(data: object) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(data, text)
    return text.getvalue()
