"""What the CNI specification fixes: versions, commands, error codes."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from netplumb.api.cni import plugin

SUPPORTED = plugin.SUPPORTED
LATEST = SUPPORTED[-1]


class Command(StrEnum):
    """CNI_COMMAND. VERSION is not among them: the plugin answers it by itself."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"

    @property
    def since(self) -> str:
        """The version of the specification that brought it."""
        return {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}.get(self, SUPPORTED[0])


class Code(IntEnum):
    """The codes of the specification, and from 100 on our own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    FAILED = 100
    HELD_BY_ANOTHER = 101
    NOT_AS_DESIRED = 102
    INTERNAL = 999


class CniError(Exception):
    """An error as the runtime is told it: a short message, and details where there are more words."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.code = code
        self.message = message
        self.details = details


def number(version: str) -> tuple[int, ...]:
    """A version that compares as such; 1.10.0 is later than 1.9.0."""
    return tuple(int(part) for part in version.split("."))


def check_version(version: str, command: Command) -> None:
    """Raises CniError unless we speak this version, and it has the command."""
    if version not in SUPPORTED:
        details = f"the configuration is of version {version!r}, netplumb speaks {', '.join(SUPPORTED)}"
        raise CniError(Code.INCOMPATIBLE_VERSION, "incompatible CNI version", details)
    if number(version) < number(command.since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            "incompatible CNI version",
            f"version {version} does not know {command}; it came with {command.since}",
        )
