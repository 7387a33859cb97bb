"""A runtime as the CNI specification sees it: it starts the plugin with an environment and a configuration."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from netplumb.api.cni.install import Places, install
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until

PLUGIN_WITHIN_S = 60
NETWORK = "cluster"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """How a plugin ended, and what it printed."""

    status: int
    output: str
    complaint: str

    def result(self) -> Json:
        """What a success printed."""
        assert self.status == 0, f"exit {self.status}: {self.output}{self.complaint}"
        found: Json = json.loads(self.output)
        return found

    def succeeded(self) -> None:
        """It succeeded, and printed nothing, as all but ADD and VERSION do."""
        assert (self.status, self.output, self.complaint) == (0, "", "")

    def error(self) -> Json:
        """The error object of a failure."""
        assert self.status != 0, f"it did not fail, and printed {self.output}"
        found: Json = json.loads(self.output)
        assert isinstance(found["msg"], str)
        assert found["msg"]
        assert isinstance(found["cniVersion"], str)
        return found


@dataclass(frozen=True, slots=True)
class Runtime:
    """Starts plugins on the node, and knows one network by its configuration."""

    node: Host
    bin_dir: Path
    network: str = NETWORK

    def config(self, version: str = "1.1.0", **fields: object) -> Json:
        return {"cniVersion": version, "name": self.network, "type": "netplumb-cni", **fields}

    def run(self, environment: Mapping[str, str], config: bytes | Json, plugin: str = "netplumb-cni") -> Done:
        """The environment is all that the plugin gets, but for what is empty in it."""
        variables = {name: value for name, value in environment.items() if value}
        variables |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CNI_PATH": str(self.bin_dir)}
        done = subprocess.run(
            self.node.command(str(self.bin_dir / plugin)),
            input=config if isinstance(config, bytes) else json.dumps(config).encode(),
            capture_output=True,
            env=variables,
            timeout=PLUGIN_WITHIN_S,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def container(self, id_: str, netns: Host | str = "", *, if_name: str = "eth0", args: str = "") -> Container:
        path = netns.path if isinstance(netns, Host) else netns
        return Container(self, id_, path, if_name, args)

    def gc(self, *alive: Container) -> Done:
        """Whatever is not among the containers is stale."""
        attachments = [{"containerID": it.id, "ifname": it.if_name} for it in alive]
        return self.run({"CNI_COMMAND": "GC"}, self.config() | {"cni.dev/valid-attachments": attachments})

    def status(self, **fields: object) -> Done:
        return self.run({"CNI_COMMAND": "STATUS"}, self.config() | fields)


@dataclass(frozen=True, slots=True)
class Container:
    """One attachment's parameters."""

    runtime: Runtime
    id: str
    netns: str
    if_name: str
    args: str

    def call(self, command: str, config: bytes | Json) -> Done:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.if_name,
            "CNI_ARGS": self.args,
        }
        return self.runtime.run(environment, config)

    def add(self, version: str = "1.1.0", **fields: object) -> Done:
        return self.call("ADD", self.runtime.config(version, **fields))

    def delete(self, version: str = "1.1.0", **fields: object) -> Done:
        return self.call("DEL", self.runtime.config(version, **fields))

    def check(self, result: Json, version: str = "1.1.0", **fields: object) -> Done:
        return self.call("CHECK", self.runtime.config(version, prevResult=result, **fields))


def addresses(result: Json) -> list[str]:
    """The addresses of a result, without their prefix lengths."""
    return [ip["address"].partition("/")[0] for ip in result["ips"]]


async def reaches(source: Host, result: Json) -> None:
    """Fails unless the source reaches every address of a result. The kernel begins to answer at an IPv6 address in a
    work queue of its own, which may be late on a busy machine."""
    for address in addresses(result):
        await until(partial(source.ping, address), f"{address} answers", within_s=20)


def installed(daemon: Daemon, network: str = NETWORK, pool: str = "", *, compiled: Path | None = None) -> Path:
    """The plugin, installed for this daemon; returns the directory of the plugins."""
    places = places_of(daemon, "compiled" if compiled else "cni")
    install(places, network, pool, daemon.socket, compiled=compiled)
    return places.bin_dir


def places_of(daemon: Daemon, name: str = "cni") -> Places:
    return Places(daemon.directory / name / "conf", daemon.directory / name / "bin")
