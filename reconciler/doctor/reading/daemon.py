"""The daemon of this node: its process by the lock that it holds, and what it tells itself, if it answers.

Nothing is asked of the lock's own socket: nobody takes such a question off its queue, which is short.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from netplumb.api.client.errors import ClientError
from netplumb.api.client.synchronous import Client
from netplumb.api.unixsocket import why_unreachable
from netplumb.models.nodestate import NOTHING, Fullness
from netplumb.models.status import Condition
from netplumb.reconciler.doctor.facts import DaemonFacts
from netplumb.reconciler.kernel.nodelock import NAME
from netplumb.reconciler.kernel.processes import openers

ANSWERS_WITHIN_S = 3.0
_ATTACHED = "Attached"
_UNIX = Path("/proc/thread-self/net/unix")


def read_daemon(socket_path: Path) -> DaemonFacts:
    process = _holder()
    state = _state(process) if process else ""
    descriptors = _descriptors(process) if process else NOTHING
    if not process or state == "T":
        why = why_unreachable(socket_path)
        return DaemonFacts(
            process, state, (why.strerror or str(why)) if why is not None else "", descriptors=descriptors
        )
    try:
        with Client(socket_path, ANSWERS_WITHIN_S) as client:
            status = client.status(without_pools=True)
            conditions = tuple(
                Condition(it.type, it.status, it.reason, it.message, it.last_transition) for it in status.conditions
            )
            pools = tuple(it.name for it in status.pools)
            listed = tuple((f"{it.workload_id}/{it.if_name}", it.phase, it.unmet) for it in client.list())
    except ClientError as error:
        return DaemonFacts(process, state, error.message, descriptors=descriptors)
    phases = tuple(
        (name, phase, "; ".join(why.message for why in unmet)) for name, phase, unmet in listed if phase != _ATTACHED
    )
    in_part = tuple(
        (name, why.reason, why.message) for name, phase, unmet in listed if phase == _ATTACHED for why in unmet
    )
    return DaemonFacts(process, state, "", conditions, phases, in_part, descriptors, pools)


def _holder() -> int:
    """The process that holds the node's lock, -1 where it is of another pid namespace, 0 where nobody does."""
    name = "@" + NAME[1:].decode()
    for line in _UNIX.read_text().splitlines()[1:]:
        *_, inode, path = line.split(maxsplit=7) if len(line.split()) == 8 else ("", "")
        if path == name:
            found = openers([int(inode)])
            return next((it.pid for it in found.values()), -1)
    return 0


def _state(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def _descriptors(process: int) -> Fullness:
    with suppress(OSError):
        limits = Path(f"/proc/{process}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
        most = line.split()[3]
        used = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
        return Fullness(used, int(most) if most.isdecimal() else 0)
    return NOTHING
