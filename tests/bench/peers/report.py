"""The side-by-side results for a person at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tests.bench.peers.measured import Measured, Row

COLUMNS = ("attach p50", "p99", "times netplumb", "detach p50", "p99", "CPU", "attach/s", "detach/s")


def cells(row: Row, first: Row) -> list[str]:
    """Those of `COLUMNS`, milliseconds; empty where there is nothing to tell."""
    took = [
        row.attach.p(50),
        row.attach.p(99),
        row.attach.p(50) / first.attach.p(50),
        row.detach.p(50),
        row.detach.p(99),
    ]
    cpu = "" if row.cpu_ms is None else f"{row.cpu_ms:.2f}"
    rates = ("" if it is None else f"{it:.0f}" for it in (row.attach_rate, row.detach_rate))
    return [*(f"{it:.2f}" for it in took), cpu, *rates]


def show(measured: Measured) -> None:
    console = Console(highlight=False)
    console.print(f"{measured.machine}; milliseconds; rates of {measured.clients} clients")
    for words, rows in measured.groups.items():
        table = Table(title=words)
        table.add_column("")
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(row.name, *cells(row, rows[0]))
        console.print(table)
    floor, attach = measured.floor, next(iter(measured.groups.values()))[0].attach
    console.print(
        f"An idle call and the objects by netlink: {floor.p(50):.2f} ms; "
        f"Attach is {attach.p(50) / floor.p(50):.2f} times that"
    )
    for it in measured.beside:
        console.print(
            f"beside {it.others}: netplumb {it.netplumb_ms:.2f} ms, {it.netplumb_cpu_ms:.2f} of CPU; "
            f"Go peer {it.peer_ms:.2f} and {it.peer_cpu_ms:.2f}"
        )
