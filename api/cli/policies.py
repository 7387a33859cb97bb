"""Network policies, printed as the user chose."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer
from rich.text import Text

from netplumb.api.cli.layout import Columns, printer
from netplumb.api.cli.lines import say
from netplumb.api.cli.options import Format
from netplumb.api.cli.plain import plain, serialised
from netplumb.api.v1 import netplumb_pb2 as pb


def show_list(found: Sequence[pb.Policy], output: Format) -> None:
    if output is not Format.TABLE:
        typer.echo(serialised([_data(it) for it in found], output), nl=False)
        return
    table = Columns(("KIND", "NAMESPACE", "NAME", "SOURCE", "IN FORCE", "SELECTS"))
    for it in found:
        counts = "yes" if it.in_force else "waits"
        table.add_row(it.kind, it.namespace or "-", it.name, it.source, counts, str(len(it.selects)))
    printer()(table)


def show_each(found: Sequence[pb.Policy], output: Format) -> None:
    if output is not Format.TABLE:
        typer.echo(serialised([_data(it) for it in found], output), nl=False)
        return
    for it in found:
        say(f"{it.namespace}/{it.name}, from {it.source}" + ("" if it.in_force else ", waits: another source holds it"))
        selected = ", ".join(f"{each.workload_id}/{each.if_name}" for each in it.selects)
        say(f"isolates: {selected or 'no workload'}")
        typer.echo(serialised(json.loads(it.manifest), Format.YAML), nl=False)


def show_explanation(answer: pb.ExplainPolicyResponse, asked: pb.ExplainPolicyRequest, output: Format) -> None:
    if output is not Format.TABLE:
        typer.echo(serialised(plain(answer), output), nl=False)
        return
    show_line = printer()
    port = f" port {asked.port}" if asked.port else ""
    said = ("allowed", "green") if answer.allowed else ("denied", "red")
    ends = f"{asked.source} ({answer.source}) to {asked.destination} ({answer.destination})"
    show_line(Text.assemble(f"{ends} {asked.protocol}{port}: ", said))
    for reason in answer.reasons:
        show_line(f"  {reason}")


def show_difference(answer: pb.DiffPoliciesResponse, output: Format) -> bool:
    """Whether there is one."""
    if output is not Format.TABLE:
        typer.echo(serialised(plain(answer), output), nl=False)
    else:
        show_line = printer()
        for it in answer.changes:
            sign, style = ("+", "green") if it.allowed else ("-", "red")
            version = f" (IPv{it.ip_version})" if it.ip_version else ""
            show_line(Text(f"{sign} {it.source} to {it.destination} {it.protocol}{_ports(it)}{version}", style))
        for flow in answer.cut_flows:
            show_line(Text(f"! cut: {flow}", "red"))
        if answer.more:
            show_line(f"and {answer.more} more")
        for waiting in answer.waiting:
            show_line(f"= {waiting}")
    return bool(answer.changes or answer.cut_flows)


def _ports(it: pb.PolicyChange) -> str:
    if (it.first_port, it.last_port) in ((0, 0), (1, 65535)):
        return ""
    return f" {it.first_port}" + (f"-{it.last_port}" if it.last_port != it.first_port else "")


def _data(it: pb.Policy) -> dict[str, object]:
    data: dict[str, object] = plain(it)
    return {**data, "manifest": json.loads(it.manifest)}
