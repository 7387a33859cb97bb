"""What a runtime says: its environment and its configuration, taken apart and held against the specification. Pure.

Whatever is wrong with them is a CniError here; what is asked for is judged later, by the models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from netplumb.api.cni.config import NetworkConfig
from netplumb.api.cni.spec import LATEST, CniError, Code, Command, check_version
from netplumb.api.cni.unknown import unknowns
from netplumb.api.mistakes import first_mistake
from netplumb.api.text import printable
from netplumb.models.attachment import CNI_SOURCE_PREFIX, POD_UID

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_ARGS = frozenset(
    {"IP", "MAC", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID", "IgnoreUnknown"}
)

_REQUIRED = {
    Command.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Command.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Command.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Command.GC: (),
    Command.STATUS: (),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One command. `args` are those of CNI_ARGS that netplumb knows, `unknown` is what of the configuration it does
    not, in words."""

    command: Command
    config: NetworkConfig
    container_id: str = ""
    netns: str = ""
    if_name: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Who holds what is attached: the network."""
        return CNI_SOURCE_PREFIX + self.config.name

    @property
    def workload_id(self) -> str:
        """The pod where the runtime names one, else the container."""
        return self.args.get(POD_UID) or self.container_id


def version_of(config: bytes) -> str:
    """The version that an answer is worded in: what the configuration says, where it can be read."""
    try:
        version = json.loads(config)["cniVersion"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return LATEST
    return version if isinstance(version, str) else LATEST


def request(environment: Mapping[str, str], config: bytes) -> Request:
    """Raises CniError for the first thing that is wrong."""
    command = _command(environment.get("CNI_COMMAND", ""))
    if missing := [name for name in _REQUIRED[command] if not environment.get(name)]:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{command} needs {', '.join(missing)}")
    decoded = _decoded(config)
    check_version(decoded.get("cniVersion", ""), command)
    container_id = environment.get("CNI_CONTAINERID", "")
    if container_id and not _NAME.fullmatch(container_id):
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_CONTAINERID: {container_id[:300]!r} must be letters, digits, dots, dashes and underscores",
        )
    args = environment.get("CNI_ARGS", "")
    if command is Command.DEL:
        # A runtime deletes what it failed to add. What was wrong with that ADD must not keep it from going.
        decoded = {name: decoded[name] for name in ("cniVersion", "name") if name in decoded}
        args = ""
    return Request(
        command,
        _validated(decoded),
        container_id,
        environment.get("CNI_NETNS", ""),
        environment.get("CNI_IFNAME", ""),
        _args(args),
        unknowns(decoded),
    )


def _command(word: str) -> Command:
    try:
        return Command(word)
    except ValueError:
        known = ", ".join((*Command, "VERSION"))
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_COMMAND: {word[:100]!r} is none of {known}") from None


def _decoded(config: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise CniError(Code.DECODING_FAILURE, "the network configuration is not JSON", printable(str(error))) from None
    if not isinstance(decoded, dict):
        raise CniError(Code.DECODING_FAILURE, "the network configuration is not a JSON object")
    return decoded


def _validated(decoded: dict[str, Any]) -> NetworkConfig:
    if isinstance(ipam := decoded.get("ipam"), dict) and ipam:
        # Whoever writes this expects addresses from another plugin; to give others would be no answer.
        words = json.dumps(ipam)[:300]
        raise CniError(Code.UNSUPPORTED_FIELD, f"ipam: {words}", "netplumb gives addresses from its pools; name a pool")
    try:
        config = NetworkConfig.model_validate(decoded)
    except ValidationError as error:
        location, message = first_mistake(error)
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        raise CniError(Code.INVALID_CONFIG, printable(f"{field}: {message}")) from None
    if not _NAME.fullmatch(config.name):
        raise CniError(
            Code.INVALID_CONFIG,
            f"name: {config.name[:300]!r} must be letters, digits, dots, dashes and underscores",
        )
    return config


def _args(text: str) -> Mapping[str, str]:
    """`NAME=value` parted by semicolons. What nobody knows is a mistake unless IgnoreUnknown says otherwise."""
    found = {}
    for pair in filter(None, text.split(";")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise CniError(Code.INVALID_ENVIRONMENT, printable(f"CNI_ARGS: {pair[:300]!r} is not NAME=value"))
        found[name] = value
    unknown = sorted(found.keys() - _ARGS)
    if unknown and found.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise CniError(Code.INVALID_ENVIRONMENT, printable(f"CNI_ARGS: netplumb does not know {', '.join(unknown)}"))
    return {name: value for name, value in found.items() if name in _ARGS}
