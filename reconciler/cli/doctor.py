"""The command `netplumb doctor`. What it needs is imported when it runs, so that `netplumb --help` is quick."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netplumb.api.cli.lines import tell
from netplumb.reconciler.cli.config import Config, Output, with_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netplumb.models.settings import Settings

_NOTHING, _FINDINGS, _COULD_NOT_LOOK = 0, 1, 2
_EPILOG = "Exit codes: 0 nothing found, 1 findings, 2 nothing found but not all could be looked at."


def register(app: typer.Typer) -> None:
    """Add `doctor` to the application."""
    app.command("doctor", epilog=_EPILOG)(doctor)


@with_settings
def doctor(
    flags: dict[str, object],
    config: Config = None,
    output: Output = "table",
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="CHECK", help="A check to leave out. Repeatable.")
    ] = None,
) -> None:
    """Find what breaks workloads' network on this node, or will: what it is, why it matters, and how to fix it.

    Needs root, works without the daemon, and changes nothing. If the daemon was started with flags, give the same
    flags here, except for its pools, which the daemon is asked for.
    """
    _refuse_unknown(skip or ())
    settings, mistakes = _settings(flags, config)

    from netplumb.reconciler.cli import findings as report
    from netplumb.reconciler.doctor.checks import examine
    from netplumb.reconciler.doctor.reading import read
    from netplumb.reconciler.settings.logs import configure

    configure(settings.log_format, "error")
    facts = read(settings, mistakes)
    findings = examine(facts, skip or ())
    report.show(findings, facts.unread, output)
    if any("EPERM" in it or "EACCES" in it for it in facts.unread):
        tell("not everything may be looked at: run it as root")
    if findings:
        raise typer.Exit(_FINDINGS)
    raise typer.Exit(_COULD_NOT_LOOK if facts.unread else _NOTHING)


def _refuse_unknown(names: "Iterable[str]") -> None:
    from netplumb.models.spelling import unknown
    from netplumb.reconciler.doctor.findings import CHECK_NAMES

    for name in names:
        if name not in CHECK_NAMES:
            raise typer.BadParameter(f"{name} {unknown(name, CHECK_NAMES)}", param_hint="--skip")


def _settings(flags: dict[str, object], config: Path | None) -> "tuple[Settings, tuple[str, ...]]":
    """The settings, or the defaults and the flags where the file is wrong: that is no reason not to look."""
    from netplumb.models.settings import Settings
    from netplumb.reconciler.settings import configuration

    try:
        return configuration.load(flags, config, os.environ).settings, ()
    except configuration.ConfigurationError as error:
        return Settings.model_validate(flags), tuple(error.lines)
