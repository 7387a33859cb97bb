"""Help pages and mistakes of usage, in plain text: on 80 columns, tables of boxes have no room for our options."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from netplumb.api.cli.examples import EXAMPLES
from netplumb.api.cli.lines import columns, definitions, flush, give_up_stdout, say, tell, wrapped

HELP_OPTIONS = ["-h", "--help"]
PAGE_COLUMNS_MAX = 100
"""Longer lines are hard to read."""


class Command(TyperCommand):
    """A command with a page of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n".join(_page(self, ctx, ())) + "\n")


class Group(TyperGroup):
    """Commands below one name, with a page of ours; the outermost one tells of mistakes too."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        listed = [(name, it) for name, it in self.commands.items() if not it.hidden]
        formatter.write("\n".join(_page(self, ctx, [(name, _first_paragraph(it.help)) for name, it in listed])) + "\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        standalone = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        if not standalone:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
            flush()
        except typer.TyperException as mistake:
            _tell_of(mistake)
            sys.exit(mistake.exit_code)
        except typer.Abort:
            tell("nothing was done")
            sys.exit(1)
        except UnicodeEncodeError as error:
            tell(f"{error.object!r} is not UTF-8, as all that is said to netplumb has to be")
            sys.exit(2)
        except OSError as error:
            if not give_up_stdout():
                raise
            if error.errno != errno.EPIPE:  # who reads no further, as `head`, wants to hear nothing of it
                tell(f"the answer cannot be written: {error.strerror} ({errno.errorcode.get(error.errno or 0, '?')})")
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


class App(typer.Typer):
    """An application, or a group of commands within one, of which every page is ours and `-h` shows it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=Group,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": HELP_OPTIONS},
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=Command, **settings)


def _page(command: Command | Group, ctx: Any, commands: Any) -> Iterator[str]:
    width = min(columns(sys.stdout), PAGE_COLUMNS_MAX)
    yield from _usage(ctx, width)
    for paragraph in _paragraphs(command.help):
        yield ""
        yield from wrapped(paragraph, width)
    for heading, rows in (*_sections(command, ctx).items(), *((("Commands", commands),) if commands else ())):
        yield ""
        yield f"{heading}:"
        yield from definitions(rows, width)
    if examples := EXAMPLES.get(" ".join(ctx.command_path.split()[1:])):
        yield ""
        yield "Examples:"
        for line, meaning in examples:
            yield f"  {line}"
            yield from (f"      {part}" for part in wrapped(meaning, width - 6))
    for paragraph in _paragraphs(command.epilog):
        yield ""
        yield from wrapped(paragraph, width)


def _usage(ctx: Any, width: int) -> list[str]:
    pieces = [piece.replace("{", "").replace("}", "") for piece in ctx.command.collect_usage_pieces(ctx)]
    return wrapped(" ".join(["Usage:", ctx.command_path, *pieces]), width, "    ")


def _sections(command: Command | Group, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """The rows of each panel, arguments and what has none first."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        if (record := param.get_help_record(ctx)) is None:
            continue
        term, meaning = record
        if param.param_type_name == "argument":
            sections["Arguments"].append((term.partition(" ")[0], meaning))
        else:
            panel = getattr(param, "rich_help_panel", None) or "Options"
            sections.setdefault(panel, []).append((term, meaning))
    return {heading: rows for heading, rows in sections.items() if rows}


def _paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in (text or "").strip().split("\n\n"):
        if paragraph:
            yield " ".join(paragraph.split())


def _first_paragraph(text: str | None) -> str:
    return next(_paragraphs(text), "")


def _tell_of(mistake: typer.TyperException) -> None:
    ctx = getattr(mistake, "ctx", None)
    if ctx is not None:
        say("\n".join(_usage(ctx, columns(sys.stderr))), err=True)
        say(f"Try '{ctx.command_path} -h' for help.", err=True)
    _reword(mistake)
    tell(mistake.format_message())


def _reword(mistake: typer.TyperException) -> None:
    """Says what pydantic found wrong with a value as a person would."""
    from pydantic import ValidationError

    from netplumb.api.mistakes import first_mistake

    if isinstance(error := mistake.__cause__, ValidationError):
        mistake.message = first_mistake(error)[1].replace("Input should be", "must be")
