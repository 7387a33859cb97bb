"""Writes docs/damage.md from the table and the last measurement: `python -m tests.damage.page`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill

from tests.damage import measured
from tests.damage.measured import Measured
from tests.damage.table import DAMAGES, FATES, Damage, Noticed, Place
from tests.damage.ways import WAYS

FILE = Path(__file__).parents[2] / "docs" / "damage.md"

_INTRODUCTION = """\
# Damage and repair

What can be damaged from outside, who notices it, how it is repaired, and how long it lasts. This page is written by
`python -m tests.damage.page` from [the table](../tests/damage/table.py) that the tests and the benchmark go by, too; do
not edit it.

- **event**: the kernel tells of it, and the loop reads anew what the event touches.
- **look**: the kernel tells nobody, so the loop looks at this one thing, up to 20 times a second for at most half a
  percent of a CPU.
- **resync**: found by the next comparison of everything, every `resync_s` seconds. It finds every other kind too.

What is not netplumb's is never removed by a repair.
"""

QUIET_P99_MS = 1.0
_NOT_QUIET = (
    "**The machine was not quiet then.** Whatever else made and removed network namespaces on it held the kernel's one "
    "lock for all of them, and each repair waited for it several times: the figures say more of that than of a repair."
)
_WIDTH = 118

_WAYS = """\
Where there is a [cluster](cluster.md). A repair touches the one node that the damage concerns, or reads all ways anew
where a link that they go by was damaged; both run beside everything else. The times are those of a node with 100
others. What such a pass costs is measured by `python -m tests.bench ways`.
Somebody else's route to a node's prefix is no damage: it is told by the condition `ForeignWay`, and stays."""

_FIGHTS = """\
## A program that undoes each repair

The first repairs of an attachment, or of a part of the node, go through at once. When one is needed for the tenth time
in a row, each within a second of the last, the next repair waits 0.1 s, the one after it 0.2 s, and so on up to 30 s.
It makes no difference whether the same object is repaired or another one each time. Such a fight is told by the
condition `Fighting`, of the attachment or of the node, with the object that was repaired most often. Meanwhile:

- other attachments, and the other parts of the node, are repaired at once;
- what a client asks for is done at once, also where there is a fight;
- once nothing needs repair for a second all is forgotten, and the condition goes.

## A workload that holds much

What is in a workload's namespace is the workload's to fill and to change. netplumb reads of it what bears its own mark,
and the addresses of the one interface, at most 128 KiB of each kind: a thousand routes and more than any wish can have.

- Where there is more, or where it changes so fast that no read of it is of one moment, the attachment has the condition
  `TooLarge`. It stays `Attached`, but its generation is not observed, Check says that it is not in sync, and Attach
  answers UNAVAILABLE. The node's side of it is kept right; the workload's side is, once there is less.
- What the passes over an attachment take is counted. Who took more than a small share of one processor waits with the
  next repair, for up to a minute: the condition `Throttled`. What a client asks for is done at once all the same.
- A namespace that tells of more changes than can be looked at, some hundreds a second for long, is not listened to
  until it is quiet: `Throttled` with the reason `TooManyEvents`. It is looked at every second instead, or more seldom.
- Nobody else waits: what may take long is read in a thread of its own, and what the node tells is heard apart from what
  workloads tell.
"""

_FLOWS = """\
## Flows that began meanwhile

Where a flow leads, and under which address, the kernel decides by its first packet. So one that began while something
was away would go on as it began for as long as somebody sends. After each repair that decides over flows those are
looked at, and the ones that would be led otherwise now are forgotten, that is their entries of connection tracking; the
next packet begins anew. All others are left alone.

- Rules, sets, elements, the link group or the name of a link are put back, or a link is taken out of a bridge: of
  workloads that leave with their own address while `masquerade` is on; to a mapped port that lead elsewhere than to its
  workload; between workloads that are kept apart.
- An address of the node comes back, also one of others: those too, and what went to a port mapped at that address and
  left the node meanwhile.
- The source that a route says changes, another way out comes before the one that said it, or an address of the node
  goes: of workloads that leave with the former one, if the node has it no more or they leave by another way now.
- The node is given an address, or an uplink its first: of workloads that leave with another interface's address, or
  with that of the node in a pool, since masquerading found none on the uplink.
- A mapping comes, changes or goes: to its ports.

A look lists what the kernel picks by status, protocol and port, beside the loop. A table with 262,144 flows takes up to
two seconds of a thread's CPU where it must list all of them, a tenth of one where the kernel picks none of them, and
the next look at all of it waits five times as long, though at most five seconds. What isolation forbids ends at once:
the guards ask each packet who began its flow.

What is not told apart from other programs' doing is left alone: a flow that somebody else translates, one between
workloads that has the node's address because the way to the other one was away when it began, and one that is masked
since `masquerade` was switched off. Where nothing on the node tracks connections while the table is away, as after a
flush while no daemon runs, a connection that began then belongs to whoever sends first afterwards: one from an isolated
workload to a service of the node may live on if that is the service.
"""

_FLUSH = """\
## What a flush costs

With Linux 6.9 and newer, nothing: the table belongs to the daemon (the flags `owner` and `persist`). Another program's
`nft flush ruleset` passes it over, and whoever else changes or deletes it is refused with EPERM. When the daemon ends
the table stays, nobody's, until the next daemon takes it as it is; only a flush in between takes it away. A table that
an older netplumb made, or one with `own_table: false`, becomes owned when it is made anew. So the damages to the table
in the list above are those of older kernels, or of `own_table: false`.

On an older kernel our table is away for as long as its repair takes, or waits where each repair was undone at once.
Meanwhile:

- **Connections that are there go on.** The kernel translates by what it remembers of them. It would stop that without a
  table for translation, and the first packet that nobody translates resets a busy connection; so the daemon keeps a
  second table, `inet netplumb-hooks`, with chains that do nothing. It has the flag `owner` alone, which Linux 5.12 has:
  it goes when the daemon ends, and comes with the next one.
- What begins leads nowhere or leaves untranslated, and is led right afterwards (see above).
- Guards and isolation do not hold until the table is back. What began against them then ends.

A kernel that refuses the second table, or a stranger's table of the same name, costs nothing but what it is for: one
line in the log says so, and a flush may then reset busy connections through mapped ports, nearly every one of them. So
it is while no daemon runs. `nft -j list ruleset` of nftables 1.0.6 and older shows the flags of these tables by other
words, one flag alone even from memory that it has freed; lists as text are right. A file written by `nft list ruleset`
while the daemon runs has our tables in it, which must be taken out before the file is loaded: the kernel refuses a
whole file that writes to a table of another's.
"""


def rendered() -> str:
    return "\n".join(_lines(measured.recorded()))


def _lines(measurement: Measured) -> Iterator[str]:
    yield _INTRODUCTION
    measured_how = (
        f"Milliseconds from the damage, by `ip`, `nft` or `tc`, until all is whole again, measured from outside with "
        f"{measurement.attachments} attachments in place and victims drawn at random "
        f"(`python -m tests.bench damage`; {measurement.machine}; meanwhile a netlink request that does nothing took "
        f"{measurement.idle.p50_ms:.2f}, at the 99th percentile {measurement.idle.p99_ms:.2f})."
    )
    yield fill(measured_how, _WIDTH)
    if measurement.idle.p99_ms > QUIET_P99_MS:
        yield ""
        yield fill(_NOT_QUIET, _WIDTH)
    if (later := measurement.later) is not None:
        yield ""
        yield fill(
            f"¹ Measured later, of these kinds alone, with {later.machine}; the request that does nothing took "
            f"{later.idle.p50_ms:.2f}, at the 99th percentile {later.idle.p99_ms:.2f}. On a busier machine all takes "
            "longer.",
            _WIDTH,
        )
    for place in (Place.NODE, Place.WORKLOAD):
        yield f"\n## {place.value}\n"
        yield from _HEAD
        for damage in DAMAGES:
            if damage.place is place:
                yield _row(damage, measurement, _OF_AN_ATTACHMENT)
    yield f"\n## {Place.WAYS.value}\n"
    yield from _WAYS.splitlines()
    for mode, damages in WAYS.items():
        yield f"\nWith `mode: {mode}`:\n"
        yield from _HEAD
        for damage in damages:
            yield _row(damage, measurement, _OF_WAYS)
    yield f"\n## {Place.NAMESPACE.value}\n"
    yield "None of these can be repaired, or not as it was.\n"
    yield "| What happens | Who notices | What becomes of the attachment |"
    yield "| --- | --- | --- |"
    for fate in FATES:
        yield f"| {fate.name} | {fate.told_by} | {fate.becomes} |"
    yield ""
    yield _FLOWS
    yield _FLUSH
    yield _FIGHTS


_HEAD = (
    "| Damage | For example | Who notices | How it is repaired | p50 | p99 | Samples |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)

_OF_WAYS = {
    "dev": "np-vxlan",
    "link": "eth0",
    "v4": "10.128.2.0/24",
    "v6": "fd80:0:0:2::/64",
    "gw": "10.128.2.0",
    "mac": "02:…",
    "at": "192.0.2.2",
    "at6": "fd01::2",
    "node_v4": "10.128.1.1",
    "node_v6": "fd80:0:0:1::1",
}


_OF_AN_ATTACHMENT = {
    "np": "np…",
    "ifb": "nq…",
    "if_name": "eth0",
    "v4": "10.99.0.2",
    "v6": "fd99::2",
    "node_v4": "10.99.0.1",
    "node_v6": "fd99::1",
    "port": "8080",
    "rule": "7",
    "peers": "peers_…",
    "policy": "ingress_by_…",
}


def _told(damage: Damage, words: Mapping[str, str]) -> str:
    examples = " && ".join(damage.lines(words))
    noticed = f"{damage.noticed.value}: {damage.told_by}" if damage.noticed is Noticed.EVENT else damage.noticed.value
    return f"| {damage.name} | `{examples}` | {noticed} | {damage.repaired}"


def _row(damage: Damage, measurement: Measured, words: Mapping[str, str]) -> str:
    kinds, later = measurement.kinds, measurement.later
    if (spread := kinds.get(damage.id)) is not None:
        mark = " ¹" if later is not None and damage.id in later.kinds else ""
        times = f"{spread.p50_ms:.1f}{mark} | {spread.p99_ms:.1f}{mark} | {spread.samples}"
    else:
        times = "at most `resync_s` | | " if damage.noticed is Noticed.RESYNC else "not measured yet | | "
    return f"{_told(damage, words)} | {times} |"


if __name__ == "__main__":
    FILE.write_text(rendered())
