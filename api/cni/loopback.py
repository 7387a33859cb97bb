"""The CNI plugin `loopback`: it sets `lo` up in a container's network namespace. It needs no daemon.

containerd wants one beside the plugin of the network, and refuses to run pods without. `netplumb cni install` writes
this one where there is none. It is run as `python3 -I -S`, as the other, and is as sparing with imports.
"""

import _socket
import ctypes
import fcntl
import json
import posix
import struct

SUPPORTED = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
INCOMPATIBLE_VERSION, INVALID_ENVIRONMENT, DECODING_FAILURE, NOT_AS_DESIRED = 1, 4, 6, 100

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h; os.setns comes with Python 3.12
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # include/uapi/linux/sockios.h and if.h
FLAGS = struct.Struct("16sh14x")  # struct ifreq of netdevice(7), as far as it is about flags


class Failure(Exception):
    """`args` are a code and a message."""


def main() -> None:
    try:
        config = json.loads(read_all())
        version = config["cniVersion"]
    except (ValueError, LookupError, TypeError):
        config, version = None, SUPPORTED[-1]
    status, answer = 0, None
    try:
        answer = carried_out(word("CNI_COMMAND"), version, config)
    except Failure as failure:
        status, answer = 1, dict(zip(("code", "msg"), failure.args, strict=True))
    if answer is not None:
        posix.write(1, json.dumps({"cniVersion": version, **answer}).encode())
    posix._exit(status)


def read_all() -> bytes:
    parts = []
    while part := posix.read(0, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def word(name: str) -> str:
    return posix.environ.get(name.encode(), b"").decode(errors="replace")


def carried_out(command: str, version: str, config: "dict[str, object] | None") -> "dict[str, object] | None":
    """What is printed beside the version, None for nothing."""
    if command == "VERSION":
        return {"supportedVersions": SUPPORTED}
    if command not in ("ADD", "CHECK", "DEL", "GC", "STATUS"):
        raise Failure(INVALID_ENVIRONMENT, f"CNI_COMMAND: {command!r} is unknown")
    if config is None:
        raise Failure(DECODING_FAILURE, "the network configuration is not a JSON object with a cniVersion")
    if version not in SUPPORTED:
        raise Failure(INCOMPATIBLE_VERSION, f"version {version!r} is none of {', '.join(SUPPORTED)}")
    if command not in ("ADD", "CHECK"):
        return None  # the interface goes with its namespace
    netns = word("CNI_NETNS")
    enter(netns)
    if command == "CHECK":
        if not flags() & IFF_UP:
            raise Failure(NOT_AS_DESIRED, f"lo in {netns} is down")
        return None
    flags(IFF_UP)
    before = config.get("prevResult")
    return before if isinstance(before, dict) else result(netns, with_ip_version=version.startswith("0."))


def enter(netns: str) -> None:
    try:
        descriptor = posix.open(netns, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError as error:
        raise Failure(INVALID_ENVIRONMENT, f"CNI_NETNS: {netns!r}: {error.strerror}") from None
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        reason = posix.strerror(ctypes.get_errno())
        raise Failure(INVALID_ENVIRONMENT, f"CNI_NETNS: cannot enter {netns!r}: {reason}")


def flags(change: int = 0) -> int:
    """The flags of lo, after `change` was set in them."""
    asking = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    found = int(FLAGS.unpack(fcntl.ioctl(asking, SIOCGIFFLAGS, FLAGS.pack(b"lo", 0)))[1])
    if change:
        fcntl.ioctl(asking, SIOCSIFFLAGS, FLAGS.pack(b"lo", found | change))
    return found | change


def result(netns: str, *, with_ip_version: bool) -> "dict[str, object]":
    addresses = {"4": "127.0.0.1/8"}
    if has_ipv6():
        addresses["6"] = "::1/128"
    versions = {version: {"version": version} if with_ip_version else {} for version in addresses}
    return {
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}],
        "ips": [{**versions[version], "interface": 0, "address": text} for version, text in addresses.items()],
        "dns": {},
    }


def has_ipv6() -> bool:
    try:
        with open("/proc/self/net/if_inet6") as listed:  # noqa: PTH123 - pathlib takes longer to import than all of this
            return any(line.split()[-1] == "lo" for line in listed)
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
