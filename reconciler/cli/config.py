"""The command `netplumb config show`, and the flags that it shares with `netplumb daemon`.

Each flag is said once, here. What needs pydantic is imported inside the functions, so that `netplumb --help` is quick.
"""

# Annotations are read at import, by typer, so they are not postponed in this file.
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from netplumb.api.cli.lines import say
from netplumb.api.cli.pages import App

if TYPE_CHECKING:
    from netplumb.reconciler.settings.configuration import Configuration

_PANEL = "Settings, which override NETPLUMB_… variables and the file"

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file; by default /etc/netplumb/netplumb.yaml, if any."),
]
DataDir: TypeAlias = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Directory of the store.", rich_help_panel=_PANEL)
]
Output: TypeAlias = Annotated[
    Literal["table", "json", "yaml"], typer.Option("--output", "-o", help="How to print the answer.")
]


def register(app: typer.Typer) -> None:
    """Add `config show` to the application."""
    config = App(no_args_is_help=True, help="The daemon's settings.")
    config.command("show", epilog="Exit codes: 0 shown, 2 wrong usage, or a mistake in the settings.")(show)
    app.add_typer(config, name="config")


def _flag(name: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002 - typer's word
    return typer.Option(name, help=help, metavar=metavar, rich_help_panel=_PANEL)


def _given(
    socket: Annotated[Path | None, _flag("--socket", "The unix socket to serve on.")] = None,
    data_dir: DataDir = None,
    state_files: Annotated[Path | None, _flag("--state-files", "Directory of state files to watch.", "DIR")] = None,
    pool: Annotated[
        list[str] | None, _flag("--pool", "Prefix to give addresses from. Repeatable, both families.", "CIDR")
    ] = None,
    resync_s: Annotated[float | None, _flag("--resync-s", "Seconds between full comparisons with the kernel.")] = None,
    masquerade: Annotated[
        bool | None, _flag("--masquerade/--no-masquerade", "Masquerade what workloads send outside.")
    ] = None,
    isolate_node: Annotated[
        bool | None, _flag("--isolate-node/--no-isolate-node", "Keep workloads from the node's own services.")
    ] = None,
    isolate_workloads: Annotated[
        bool | None, _flag("--isolate-workloads/--no-isolate-workloads", "Keep workloads from each other.")
    ] = None,
    mtu: Annotated[int | None, _flag("--mtu", "MTU of workloads' interfaces; 0 takes the uplink's.")] = None,
    log_format: Annotated[Literal["text", "json"] | None, _flag("--log-format", "How to log.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, _flag("--log-level", "The least severe level to log.")
    ] = None,
) -> dict[str, object]:
    """The flags that were given, by the name of the setting."""
    flags = {
        "socket": socket,
        "data_dir": data_dir,
        "state_files": state_files,
        "pools": pool or None,
        "resync_s": resync_s,
        "masquerade": masquerade,
        "isolate_node": isolate_node,
        "isolate_workloads": isolate_workloads,
        "mtu": mtu,
        "log_format": log_format,
        "log_level": log_level,
    }
    return {name: value for name, value in flags.items() if value is not None}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags of the settings. It takes those that were given as `flags`, beside its own options."""
    settings = inspect.signature(_given).parameters
    own = {name: it for name, it in inspect.signature(command).parameters.items() if name != "flags"}

    def run(**options: Any) -> None:
        given = {name: options.pop(name) for name in settings}
        command(flags=_given(**given), **options)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    signature = inspect.Signature([*own.values(), *settings.values()])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {it.name: it.annotation for it in signature.parameters.values()}
    return run


def load_or_exit(flags: dict[str, object], config: Path | None) -> "Configuration":
    """The configuration; if it is wrong, a line on stderr for each mistake and exit 2."""
    from netplumb.reconciler.settings import configuration

    try:
        return configuration.load(flags, config, os.environ)
    except configuration.ConfigurationError as error:
        for line in error.lines:
            say(line, err=True)
        raise typer.Exit(2) from None


@with_settings
def show(flags: dict[str, object], config: Config = None, output: Output = "table") -> None:
    """Show the settings that the daemon would run with, and where each comes from."""
    loaded = load_or_exit(flags, config)
    values = loaded.settings.model_dump(mode="json")
    if output == "table":
        _print_table(values, loaded)
        return
    data = {name: {"value": value, "from": loaded.origins[name]} for name, value in values.items()}
    typer.echo(as_json(data) if output == "json" else as_yaml(data), nl=False)


def _print_table(values: dict[str, object], loaded: "Configuration") -> None:
    from rich.text import Text

    from netplumb.api.cli.layout import Columns, printer

    table = Columns(("SETTING", "VALUE", "FROM"))
    for name, value in values.items():
        origin = loaded.origins[name]
        table.add_row(name, _words(value), Text(origin, style="dim" if origin == "default" else ""))
    printer()(table)


def _words(value: object) -> str:
    """A value as a person would write it: `-` for none, a list without brackets."""
    match value:
        case None | []:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(_words(item) for item in value)
        case {"cidr": cidr, **more}:
            return f"{cidr} ({', '.join(f'{name} {_words(it)}' for name, it in more.items())})"
        case dict():
            return " ".join(f"{name}={_words(it)}" for name, it in value.items())
        case _:
            return str(value)


def as_json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_yaml(data: object) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(data, text)
    return text.getvalue()
