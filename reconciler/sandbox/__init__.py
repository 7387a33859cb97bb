"""`netplumb sandbox`: the daemon on a stage of namespaces, so that the machine's own network is left alone.

Whatever ends it — the proof's end, Ctrl-C, SIGTERM, a failure — nothing of it stays: the daemon is stopped and its node
purged, the namespaces go with the process, and so does the directory with the daemon's files. Only SIGKILL leaves that
directory behind.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netplumb.models.errors import NetplumbError
from netplumb.reconciler.sandbox import demo as demonstration
from netplumb.reconciler.sandbox.child import NETPLUMB, POOLS, Daemon
from netplumb.reconciler.sandbox.proof import Proof
from netplumb.reconciler.sandbox.stage import GUEST, OUTSIDE_ADDRESSES, SandboxError, enter, node_state

INTERRUPTED = 130  # what a shell makes of SIGINT

# SIGINT too: a shell script starts its background jobs deaf to it.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(*, demo: bool, cluster: bool, state_files: Path | None) -> int:
    """Runs until Ctrl-C; a demo without a terminal ends with its proof. The exit code: 0, or 1 after what failed."""
    proof = Proof()
    for number in _ENDS:
        signal.signal(number, signal.default_int_handler)
    code = 0
    try:
        if cluster:
            from netplumb.reconciler.sandbox import cluster as many

            enter(many.PLAY)
            with _directory() as directory:
                many.live(directory, proof, deaf=_deaf)
        else:
            enter()
            with _directory() as directory:
                _live(Daemon(directory, state_files), demo, proof)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except NetplumbError as error:
        proof.fail(str(error))
    if proof.failures:
        proof.chapter("What failed")
        for failure in proof.failures:
            proof.note(failure)
        return 1
    return code


def _live(daemon: Daemon, demo: bool, proof: Proof) -> None:
    """From the daemon's start to the purge. A KeyboardInterrupt comes through if it cuts a proof short."""
    before = node_state()
    proof.note("A namespace plays the node; this machine's own network is left alone.")
    proof.note(f"The pools are {' and '.join(POOLS)}.")
    proof.note(f"A host outside, {' and '.join(OUTSIDE_ADDRESSES)}, has no route back to them.")
    try:
        with daemon:
            try:
                proof.claim("the daemon is ready", daemon.wait_ready)
                if demo and not proof.failures:
                    demonstration.show(daemon, proof)
                if not proof.failures and (proof.on_terminal or not demo):
                    _stay(daemon, proof)
            finally:
                _deaf()
    finally:
        proof.chapter("Leaving")
        proof.claim("netplumb is purged, and the node is as it was", lambda: _purge(daemon, before))


def _deaf() -> None:
    """What follows is short and bounded, and a second Ctrl-C must not cut it off."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)


def _stay(daemon: Daemon, proof: Proof) -> None:
    proof.chapter("It stays up until Ctrl-C. From another terminal, try")
    proof.show(
        f"  export NETPLUMB_SOCKET={daemon.socket}\n"
        f"  {NETPLUMB} list\n"
        f"  {NETPLUMB} attach {GUEST} --netns {GUEST}\n"
        f"  {NETPLUMB} watch\n"
        f"  $EDITOR {daemon.state_files}/*.yaml\n"
        f"and on the node itself\n"
        f"  {_entrance()} ip route\n"
        f"  {_entrance()} {NETPLUMB} doctor --config {daemon.config}\n"
        f"  {_entrance()} {NETPLUMB} trace {GUEST} {OUTSIDE_ADDRESSES[0]} --config {daemon.config}\n"
        f"  {_entrance()} nft list table inet netplumb\n"
        "Damage what you like, the table too: here own_table is false. On a node only the daemon may change it,\n"
        "where the kernel has that (Linux 6.9)."
    )
    try:
        daemon.wait_for_end()
    except KeyboardInterrupt:
        proof.note("")


def _entrance() -> str:
    """What a command on the node starts with, from a terminal that is not in the sandbox's namespaces."""
    mapped = int(Path("/proc/self/uid_map").read_text().split()[2])
    user = "--user --preserve-credentials " if mapped == 1 else ""  # the user namespace of scripts/in-namespaces
    return f"nsenter --target {os.getpid()} {user}--mount --net --"


def _purge(daemon: Daemon, before: list[str]) -> None:
    daemon.purge()
    after = node_state()
    missing = [f"- {line}" for line in before if line not in after]
    left = [f"+ {line}" for line in after if line not in before]
    if missing or left:
        raise SandboxError("; ".join(missing + left))


@contextmanager
def _directory() -> Iterator[Path]:
    """For the daemon's files. Not below /run, which is the stage's own: its socket can be reached from outside."""
    parent = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="netplumb-sandbox-", dir="/tmp" if Path("/run") in Path(parent).parents else parent
    ) as name:
        yield Path(name)
