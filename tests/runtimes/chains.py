"""A chain of plugins as libcni runs one: each with the result of those before it, DEL in reverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.hosts import Host
from tests.e2e.runtimes import Done, Json, Runtime

DEBIANS = Path("/usr/lib/cni")
"""Where the package containernetworking-plugins has the plugins that the CNI project maintains."""

VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Chain:
    """One container's interface, by these plugins in their order; `capabilities` are the runtime's arguments."""

    runtime: Runtime
    netns: Host
    plugins: Sequence[Json]
    id: str = "c1"
    if_name: str = "eth0"

    def add(self, **capabilities: object) -> Json:
        result: Json | None = None
        for plugin in self.plugins:
            result = self._run("ADD", plugin, result, capabilities).result()
        assert result is not None
        return result

    def check(self, result: Json, **capabilities: object) -> None:
        for plugin in self.plugins:
            self._run("CHECK", plugin, result, capabilities).succeeded()

    def delete(self, result: Json, **capabilities: object) -> None:
        for plugin in reversed(self.plugins):
            done = self._run("DEL", plugin, result, capabilities)
            assert done.status == 0, done.output

    def _run(self, command: str, plugin: Json, result: Json | None, capabilities: Mapping[str, object]) -> Done:
        asked = {name: it for name, it in capabilities.items() if plugin.get("capabilities", {}).get(name)}
        config = {"cniVersion": VERSION, "name": self.runtime.network, **plugin}
        if asked:
            config["runtimeConfig"] = asked
        if result is not None:
            config["prevResult"] = result
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.id,
            "CNI_NETNS": self.netns.path,
            "CNI_IFNAME": self.if_name,
        }
        return self.runtime.run(environment, config, plugin["type"])


def with_debians(runtime: Runtime, *names: str) -> Runtime:
    """The runtime, that finds these plugins beside netplumb's."""
    for name in names:
        (runtime.bin_dir / name).symlink_to(DEBIANS / name)
    return runtime
