"""What went over attachments between two looks, printed as the user chose."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import typer

from netplumb.api.cli.layout import Columns, console, printer
from netplumb.api.cli.options import Format
from netplumb.api.cli.plain import serialised
from netplumb.api.v1 import netplumb_pb2 as pb

CLEAR = "\x1b[H\x1b[2J"
_AROUND_ROWS = 3  # the heading, the prompt, and one to spare


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one attachment, seen from the workload: bits and packets a second, and bytes in all."""

    workload_id: str
    if_name: str
    received_bps: float
    sent_bps: float
    received_pps: float
    sent_pps: float
    received_bytes: int
    sent_bytes: int


def rates(before: pb.TrafficResponse, now: pb.TrafficResponse) -> list[Rate]:
    """Of one whose link was made anew meanwhile, what went over the new one."""
    was = {(it.workload_id, it.if_name): it for it in before.traffic}
    seconds = max(now.at - before.at, 0.001)
    found = []
    for it in now.traffic:
        then = was.get((it.workload_id, it.if_name), it)
        if it.received_bytes < then.received_bytes or it.sent_bytes < then.sent_bytes:
            then = pb.Traffic()
        found.append(
            Rate(
                it.workload_id,
                it.if_name,
                8 * (it.received_bytes - then.received_bytes) / seconds,
                8 * (it.sent_bytes - then.sent_bytes) / seconds,
                (it.received_packets - then.received_packets) / seconds,
                (it.sent_packets - then.sent_packets) / seconds,
                it.received_bytes,
                it.sent_bytes,
            )
        )
    return found


def ordered(found: Iterable[Rate], *, by_total: bool, by_name: bool) -> list[Rate]:
    by_key = sorted(found, key=lambda it: (it.workload_id, it.if_name))
    if by_name:
        return by_key
    if by_total:
        return sorted(by_key, key=lambda it: -(it.received_bytes + it.sent_bytes))
    return sorted(by_key, key=lambda it: -(it.received_bps + it.sent_bps))


def show(found: Sequence[Rate], output: Format, most: int, *, refreshed: bool) -> None:
    if output is not Format.TABLE:
        typer.echo(serialised([asdict(it) for it in found[: most or None]], output), nl=False)
        return
    if refreshed:
        most = most or max(console().height - _AROUND_ROWS, 1)
        sys.stdout.write(CLEAR)
    table = Columns(("WORKLOAD", "INTERFACE", "RECEIVES", "SENDS", "PACKETS/S IN", "OUT", "RECEIVED", "SENT"))
    for it in found[: most or None]:
        table.add_row(
            it.workload_id,
            it.if_name,
            f"{scaled(it.received_bps)}bit/s",
            f"{scaled(it.sent_bps)}bit/s",
            scaled(it.received_pps).strip(),
            scaled(it.sent_pps).strip(),
            f"{scaled(it.received_bytes)}B",
            f"{scaled(it.sent_bytes)}B",
        )
    printer()(table)


def scaled(number: float) -> str:
    """With three digits and a decimal suffix."""
    for factor, suffix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor:
            digits = number / factor
            return f"{digits:.{2 if digits < 10 else 1 if digits < 100 else 0}f} {suffix}"
    return f"{number:.0f} "
