"""The results for a person and for a program."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.results import Results, Row

NOTES = {
    "attach": "Attach",
    "detach": "Detach",
    "call": "floor: idle RPC",
    "floor attach": "floor: objects by netlink",
    "floor detach": "floor: one RTM_DELLINK",
    "python": "floor: python3 -I -S -c pass",
    "plugin add": "CNI plugin, ADD",
    "plugin del": "CNI plugin, DEL",
}


def show(results: Results, load_before: float) -> None:
    console = Console(highlight=False)
    table = Table(title=f"netplumb on Linux {platform.release()}, {os.cpu_count()} CPUs; milliseconds")
    table.add_column("")
    for column in ("p50", "p95", "p99", "per second", "calls"):
        table.add_column(column, justify="right")
    for row in sorted(results.rows, key=lambda row: row.name):
        times = (f"{value:.2f}" for value in (row.p50, row.p95, row.p99))
        table.add_row(_words(row), *times, f"{row.rate:.0f}", str(row.count))
    console.print(table)
    console.print(f"Attach, rounds: {' '.join(f'{ratio:.2f}' for ratio in results.ratio_by_round)} times the floor")
    console.print(f"The floor: {results.floor_ms:.2f} ms, the objects by netlink and one idle RPC (it does nothing)")
    console.print(f"Detach, rounds: {' '.join(f'{rate:.0f}' for rate in results.detach_rate_by_round)} per second")
    if load_before > 1:
        console.print(f"The machine was not idle: load {load_before:.1f} before the first round", style="yellow")
    for verdict in results.verdicts:
        console.print(verdict.words, style="bold red" if verdict.failed else "bold")


def _words(row: Row) -> str:
    if row.name in NOTES:
        return NOTES[row.name]
    kind, clients = row.name.split()
    return f"{NOTES[kind]}, {clients} client{'' if clients == '1' else 's'}"


def write(results: Results, load_before: float, path: Path) -> None:
    machine = {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": load_before,
    }
    path.write_text(json.dumps({"machine": machine, **results.as_json()}, indent=2) + "\n")
