"""The CNI plugin: it hands its environment and its input to the daemon over a unix socket and prints the answer.

A runtime starts it for every ADD and DEL, so what counts is how fast Python starts. It is run as `python3 -I -S`,
knows nothing of CNI but VERSION and what to say when no daemon answers, and imports json only then. `netplumb cni
install` writes it to where runtimes look, with the socket of the daemon that it was installed for, unless the compiled
one is there: api/go/plugin, which does the same in less time. A test holds the two alike.
"""

import _socket  # with `socket` and `os` in their place Python would take twice as long to start
import posix
import sys

SOCKET = "/run/netplumb/workloadnet.sock.cni"
SUPPORTED = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")

ANSWER_WITHIN_S = 120
"""Bounds each wait for the daemon: to be let in, to be heard, and to be answered."""

PART_BYTES = 1 << 16
IO_FAILURE, TRY_AGAIN_LATER, NOT_AVAILABLE = 5, 11, 50


def main() -> None:
    command = posix.environ.get(b"CNI_COMMAND")
    config = None
    try:
        config = read_all()
        if command == b"VERSION":
            status, answer = 0, said(config, supportedVersions=SUPPORTED)
        else:
            status, answer = ask(environment(), config)
    except (OSError, ValueError) as error:
        status, answer = 1, failure(command, config, error)
    while answer:
        answer = answer[posix.write(1, answer) :]
    posix._exit(status)  # what an orderly exit clears away, the kernel does too


def read_all() -> bytes:
    parts = []
    while part := posix.read(0, PART_BYTES):
        parts.append(part)
    return b"".join(parts)


def environment() -> bytes:
    return b"\0".join(b"%s=%s" % pair for pair in posix.environ.items() if pair[0].startswith(b"CNI_"))


def ask(variables: bytes, config: bytes) -> tuple[int, bytes]:
    """The exit status and the output that the daemon wants of us. ValueError if its answer is not whole."""
    daemon = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    for option in (
        _socket.SO_SNDTIMEO,
        _socket.SO_RCVTIMEO,
    ):  # with Python's own a full backlog would not be waited for
        daemon.setsockopt(_socket.SOL_SOCKET, option, ANSWER_WITHIN_S.to_bytes(8, sys.byteorder) + bytes(8))
    daemon.connect(SOCKET)
    try:  # noqa: SIM105 - contextlib takes longer to import than all of this to run
        daemon.sendall(b"netplumb-cni 1 %d %d\n%s%s" % (len(variables), len(config), variables, config))
    except ConnectionError:
        pass  # it does not want to hear more, and its answer says why
    received = b""
    while part := daemon.recv(PART_BYTES):
        received += part
        head, newline, answer = received.partition(b"\n")
        if newline:
            status, length = (int(word) for word in head.split())
            if len(answer) == length:
                return status, answer
    raise ValueError


def failure(command: bytes | None, config: bytes | None, error: Exception) -> bytes:
    if config is None:
        return said(b"", code=IO_FAILURE, msg="the network configuration cannot be read", details=reason(error))
    code = NOT_AVAILABLE if command == b"STATUS" else TRY_AGAIN_LATER
    return said(config, code=code, msg="netplumb does not answer", details=f"{SOCKET}: {reason(error)}")


def reason(error: Exception) -> str:
    if isinstance(error, BlockingIOError):
        return f"nothing came of it within {ANSWER_WITHIN_S} s"
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "the answer is not whole"


def said(config: bytes, **fields: object) -> bytes:
    """An object for the runtime, in the version that it speaks."""
    import json

    try:
        version = json.loads(config)["cniVersion"]
    except (ValueError, LookupError, TypeError, RecursionError):
        version = None
    if not isinstance(version, str):
        version = SUPPORTED[-1]
    answer = json.dumps({"cniVersion": version, **fields}, ensure_ascii=False, separators=(",", ":"))
    return answer.encode(errors="replace")


if __name__ == "__main__":
    main()
