"""Attachments of all nodes, as each wrote them to etcd, printed as the user chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from netplumb.api.cli.layout import Columns, printer
from netplumb.api.cli.lines import say
from netplumb.api.cli.options import Format, ListFormat
from netplumb.api.cli.plain import serialised


def show(found: Sequence[dict[str, Any]], output: ListFormat) -> None:
    if output in (ListFormat.JSON, ListFormat.YAML):
        typer.echo(serialised(list(found), Format(output.value)), nl=False)
        return
    if output is ListFormat.NAME:
        for it in found:
            say(f"{it['node']} {_name(it)}")
        return
    away = {str(it["node"]) for it in found if not it["present"]}
    more = ("NAMESPACE", "LABELS") if output is ListFormat.WIDE else ()
    table = Columns(("NODE", "NAME", "PHASE", "ADDRESSES", "SOURCE", *more))
    for it in found:
        addresses = ", ".join(map(str, it.get("addresses", ()))) or "-"
        labels = " ".join(f"{key}={value}" for key, value in sorted(it.get("labels", {}).items()))
        wide = (str(it.get("namespace") or "-"), labels or "-") if more else ()
        phase, source = str(it.get("phase", "-")), str(it.get("source", "-"))
        node = str(it["node"])
        table.add_row(f"{node} (away)" if node in away else node, _name(it), phase, addresses, source, *wide)
    printer()(table)


def _name(it: dict[str, Any]) -> str:
    return f"{it.get('workload_id', '-')}/{it.get('if_name', '-')}"
