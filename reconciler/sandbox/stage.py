"""The stage: network namespaces that play a node and a host outside it, in a mount namespace of their own.

`enter` moves the calling thread onto the node, so it comes before any other thread is started. Nothing here needs to
be taken down: the namespaces, their names in /run/netns and the veth between them go with the last process on stage.
The outside host knows no way back to the pools, so that it answers only to what was masqueraded.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from netplumb.models.attachment import NETNS_DIR
from netplumb.models.errors import NetplumbError, errno_name

CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h; os.unshare comes with Python 3.12
CLONE_NEWNET = 0x40000000

GUEST = "guest-1"
"""A namespace that somebody else than netplumb made, for a workload to be attached."""

OUTSIDE = "outside"
OUTSIDE_ADDRESSES = ("192.0.2.2", "2001:db8::2")
UPLINK = "uplink"

_COMMAND_TIMEOUT_S = 20

# addrgenmode none: no link-local addresses that come late and make the node look different. It cannot be said when the
# pair is made (EAFNOSUPPORT).
_PLAY = f"""
ip link set lo up
ip netns add {GUEST}
ip netns add {OUTSIDE}
ip link add {UPLINK} type veth peer name eth0 netns {OUTSIDE}
ip link set {UPLINK} addrgenmode none
ip -n {OUTSIDE} link set eth0 addrgenmode none up
ip link set {UPLINK} up
ip -n {OUTSIDE} address add 192.0.2.2/24 dev eth0
ip -n {OUTSIDE} address add 2001:db8::2/64 dev eth0 nodad
ip address add 192.0.2.1/24 dev {UPLINK}
ip address add 2001:db8::1/64 dev {UPLINK} nodad
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8::2
"""

_LOOKS = ("ip -brief address", "ip route", "ip -6 route", "nft list ruleset")


class SandboxError(NetplumbError):
    """The sandbox cannot do or did not see what it should; the message is for a person."""


def enter(play: str = _PLAY) -> None:
    """Makes the stage and goes onto its node. The machine's own network and mounts are left alone."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise SandboxError(
            f"cannot make namespaces: {errno_name(ctypes.get_errno())}; "
            "run it as root, or as `unshare -Urnm` does: scripts/in-namespaces netplumb sandbox"
        )
    command("mount", "--make-rprivate", "/")
    command("mount", "-t", "tmpfs", "-o", "mode=0755", "netplumb-sandbox", "/run")
    for line in play.strip().splitlines():
        command(*line.split())


def node_state(*entrance: str) -> list[str]:
    """What is on the node, in lines to compare: equal before netplumb came and after it was purged. `entrance` are the
    words before a command on another one."""
    switches = (f"/proc/sys/net/{name}" for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"))
    return [
        *(line for words in _LOOKS for line in command(*entrance, *words.split()).splitlines()),
        *(f"{switch}: {command(*entrance, 'cat', switch).strip()}" for switch in switches),
        *(f"namespace {path.name}" for path in sorted(Path(NETNS_DIR).iterdir())),
    ]


def command(*words: str) -> str:
    """Runs a command on the node and returns what it printed. Raises SandboxError with its complaint."""
    return outcome(words, start(words))


def start(words: Sequence[str]) -> subprocess.Popen[str]:
    """Starts a command on the node; `outcome` must follow."""
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    except FileNotFoundError:
        raise SandboxError(f"the command {words[0]!r} is missing; `make setup` installs it") from None


def outcome(words: Sequence[str], started: subprocess.Popen[str]) -> str:
    """Waits for a command's end and returns what it printed. Raises SandboxError with its complaint."""
    with started:
        try:
            printed, complaint = started.communicate(timeout=_COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise SandboxError(f"{shlex.join(words)}: did not end within {_COMMAND_TIMEOUT_S} s") from None
        finally:
            started.kill()
    if started.returncode != 0:
        lines = (complaint or printed).strip().splitlines() or [f"exit code {started.returncode}"]
        raise SandboxError(f"{shlex.join(words)}: {'; '.join(lines)}")
    return printed


def environment() -> dict[str, str]:
    """Without settings meant for another daemon, and with the directories of administrators' commands, which the PATH
    of an ordinary user lacks on Debian."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NETPLUMB_")}
    return kept | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
