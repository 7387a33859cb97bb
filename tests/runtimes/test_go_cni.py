"""The Go package that stands in for go-cni: as Go code, and used by a program against the real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e.conftest import NODE_V4, MakeHost, StartDaemon
from tests.e2e.daemons import POOLS, Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import refused
from tests.runtimes.build_containerd import DEBIAN_GOPATH, DROP_IN, REPLACED

PROGRAM = Path(__file__).with_name("gocni")
ROOT = Path(__file__).parents[2]

BUILT_WITHIN_S = 600
ANSWERED_WITHIN_S = 60

ID = "3f1e9a"
POD = {"K8S_POD_UID": "uid-7", "K8S_POD_NAME": "web-0", "K8S_POD_NAMESPACE": "shop", "IgnoreUnknown": "1"}
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
TWO_NETWORKS = [{"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "bridge"}]} for name in ("front", "back")]

EXPORTED = re.compile(r"^ *(?:func|type|const|var) (\w+)", re.MULTILINE)
# A network with its plugins' binaries: it is in no call of the interface.
NOT_TAKEN_OVER = {"Network"}


@pytest.fixture(scope="session")
def gopath(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GOPATH in which the package is go-cni."""
    directory = tmp_path_factory.mktemp("gopath")
    place = directory / "src" / REPLACED
    place.parent.mkdir(parents=True)
    place.symlink_to(DROP_IN)
    return directory


def go(gopath: Path | None, *words: str, directory: Path | None = None) -> str:
    """Runs a Go command; without a GOPATH of ours it knows Debian's packages alone."""
    paths = f"{gopath}:{DEBIAN_GOPATH}" if gopath else str(DEBIAN_GOPATH)
    done = subprocess.run(
        words,
        cwd=directory,
        env=os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": paths},
        capture_output=True,
        text=True,
        timeout=BUILT_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.timeout(BUILT_WITHIN_S)
def test_its_own_tests_pass(gopath: Path) -> None:
    """What the package asks a daemon for and makes of the answers, without a race between its goroutines."""
    print(go(gopath, "go", "test", "-race", "-count=1", REPLACED))


@pytest.mark.timeout(BUILT_WITHIN_S)
def test_it_is_formatted_and_vetted(gopath: Path) -> None:
    """gofmt and go vet find nothing."""
    assert go(gopath, "gofmt", "-l", str(DROP_IN), str(PROGRAM)) == ""
    go(gopath, "go", "vet", REPLACED)
    go(gopath, "go", "vet", ".", directory=PROGRAM)


@pytest.mark.timeout(BUILT_WITHIN_S)
def test_a_program_need_not_change(gopath: Path) -> None:
    """Every name that go-cni exports is there, and the program here is built against either of the two."""
    original, own = (set(EXPORTED.findall(go(path, "go", "doc", "-short", REPLACED))) for path in (None, gopath))
    assert {"CNI", "New", "NamespaceOpts"} <= original
    assert original - NOT_TAKEN_OVER <= own
    go(None, "go", "vet", ".", directory=PROGRAM)


def test_its_generated_code_is_that_of_the_contract(tmp_path: Path) -> None:
    """Generating it anew from the proto changes nothing."""
    subprocess.run(["make", "-C", str(ROOT), "proto-go", f"GO_OUT={tmp_path}"], check=True)
    generated = Path("internal", "netplumbv1")
    fresh = {path.name: path.read_text() for path in (tmp_path / generated).iterdir()}
    assert fresh == {path.name: path.read_text() for path in (DROP_IN / generated).iterdir()}


@pytest.fixture(scope="session")
def program(gopath: Path) -> Path:
    """The program, built."""
    built = gopath / "gocni"
    go(gopath, "go", "build", "-o", str(built), ".", directory=PROGRAM)
    return built


class Runtime:
    """The program, running. What it asks is go-cni's, what it is answered the same in JSON."""

    def __init__(self, program: Path, socket: Path) -> None:
        environment = os.environ | {"NETPLUMB_SOCKET": str(socket)}
        self._process = subprocess.Popen(
            [str(program)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, call: str, **said: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"Call": call, "ID": ID, **said}) + "\n")
        self._process.stdin.flush()

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), ANSWERED_WITHIN_S)
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def call(self, call: str, **said: object) -> dict[str, Any]:
        """What it says, also of an error."""
        self.begin(call, **said)
        return await self.answer()

    async def done(self, call: str, **said: object) -> dict[str, Any]:
        """What it says of what must succeed."""
        answer = await self.call(call, **said)
        assert answer["Error"] == "", answer["Error"]
        return answer

    async def setup(self, host: Host, **said: object) -> dict[str, Any]:
        """The interfaces of the result."""
        result = (await self.done("setup", Path=host.path, **said))["Result"]
        interfaces: dict[str, Any] = result["Interfaces"]
        return interfaces

    def end(self) -> None:
        self._process.communicate(timeout=ANSWERED_WITHIN_S)


@pytest.fixture
def web(make_host: MakeHost) -> Host:
    return make_host("web")


@pytest.fixture
def runtime(program: Path, daemon: Daemon) -> Iterator[Runtime]:
    runtime = Runtime(program, daemon.socket)
    yield runtime
    runtime.end()


async def test_setup_gives_what_the_result_says(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Addresses, gateways, MAC address and routes of the result are those in the kernel; Remove takes all away."""
    answer = await runtime.done("setup", Path=web.path, Labels=POD)
    interfaces, routes = answer["Result"]["Interfaces"], answer["Result"]["Routes"]
    assert interfaces.keys() == {"eth0", node_if_name(AttachmentKey("uid-7", "eth0"))}
    eth0 = interfaces["eth0"]
    found = [(ip_address(config["IP"]), config["Gateway"]) for config in eth0["IPConfigs"]]
    assert [ip in ip_network(pool) for (ip, _), pool in zip(found, POOLS, strict=True)] == [True, True]
    assert web.addresses("eth0") == {f"{ip}/{ip.max_prefixlen}" for ip, _ in found}
    assert (eth0["Mac"], eth0["Sandbox"]) == (web.link("eth0")["address"], web.path)
    for ip, gateway in found:
        default = web.default_route(ip.version)
        assert default is not None
        assert default["gateway"] == gateway
        assert {"dst": "0.0.0.0/0" if ip.version == 4 else "::/0", "gw": gateway} in routes
    assert (await client.get("uid-7")).container_id == ID
    await runtime.done("check", Path=web.path, Labels=POD)
    await runtime.done("remove", Path=web.path, Labels=POD)
    assert "eth0" not in web.links()
    with refused(grpc.StatusCode.NOT_FOUND):
        await client.get("uid-7")


async def test_what_the_runtime_says_is_in_the_record(
    start_daemon: StartDaemon, program: Path, outside: Host, web: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ports, limits, DNS, labels, and of the annotations those that the daemon's settings allow."""
    monkeypatch.setenv("NETPLUMB_ANNOTATION_KEYS", "shop.example/*,cgroupPath")
    daemon = await start_daemon()
    runtime = Runtime(program, daemon.socket)
    await runtime.setup(
        web,
        Labels=POD,
        PortMappings=[{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP"}, {"ContainerPort": 81}],
        BandWidth={"IngressRate": 50_000_000, "IngressBurst": 2**32 - 1},
        DNS={"Servers": ["10.0.0.53"], "Searches": ["shop.example"], "Options": ["ndots:2"]},
        Capabilities={
            ANNOTATIONS: {"shop.example/tier": "front", "other.example/large": "x" * (256 << 10)},
            "cgroupPath": "/pods/web",
        },
    )
    async with daemon.client() as client:
        recorded = await client.get("uid-7")
    with serving(web, 80):
        assert (ask(outside, NODE_V4, 8080, "tcp") or "").startswith("web ")
    runtime.end()
    assert [mapping.container_port for mapping in recorded.port_mappings] == [80]
    assert (recorded.bandwidth.ingress_rate, recorded.bandwidth.egress_rate) == (50_000_000, 0)
    assert (list(recorded.dns.servers), list(recorded.dns.searches)) == (["10.0.0.53"], ["shop.example"])
    assert recorded.labels["K8S_POD_NAME"] == "web-0"
    assert dict(recorded.annotations) == {"shop.example/tier": "front", "cgroupPath": "/pods/web"}


@pytest.mark.parametrize("call", ["setup", "setup serially"])
async def test_each_network_is_an_interface(runtime: Runtime, web: Host, call: str) -> None:
    """Two lists and a prefix are two interfaces named by it; Load replaces them, Remove takes both away."""
    await runtime.done("load", Prefix="net", ConfLists=TWO_NETWORKS)
    config = (await runtime.done("config"))["Config"]
    assert [(net["IFName"], net["Config"]["Name"]) for net in config["Networks"]] == [
        ("net0", "front"),
        ("net1", "back"),
    ]
    interfaces = (await runtime.done(call, Path=web.path))["Result"]["Interfaces"]
    addresses = [config["IP"] for name in ("net0", "net1") for config in interfaces[name]["IPConfigs"]]
    assert len(set(addresses)) == 4
    await runtime.done("check", Path=web.path)
    await runtime.done("remove", Path="")
    assert not {"net0", "net1"} & web.links().keys()


async def test_a_broken_configuration_changes_nothing(runtime: Runtime, web: Host) -> None:
    """A Load that fails leaves the networks as they were."""
    await runtime.done("load")
    before = (await runtime.done("config"))["Config"]
    assert "no type" in (await runtime.call("load", ConfLists=[{"name": "x", "plugins": [{}]}]))["Error"]
    assert (await runtime.done("config"))["Config"] == before
    assert "eth0" in await runtime.setup(web)


async def test_check_reads_the_kernel(runtime: Runtime, node: Host, web: Host) -> None:
    """What was taken away unheard is found and named; what is not there is not found."""
    assert (await runtime.call("check", Path=web.path))["NotFound"]
    await runtime.setup(web)

    async def found() -> bool:
        # A pass that the setup's own events caused may repair it yet.
        node.run(f"ip neighbour delete proxy fe80::1 dev {node_if_name(AttachmentKey(ID, 'eth0'))}", ok=False)
        return "+ neighbour proxy fe80::1" in (await runtime.call("check", Path=web.path))["Error"]

    await until(found, "the check names what was taken away")
    answer = await runtime.call("check", ID="another", Path=web.path, Labels={"K8S_POD_UID": ID})
    assert answer["NotFound"]


async def test_status_is_the_daemons(start_daemon: StartDaemon, program: Path) -> None:
    """Not initialized without a daemon and without a pool; well as soon as there are both."""
    daemon = await start_daemon(pools=())
    runtime = Runtime(program, daemon.socket)
    answer = await runtime.call("status")
    assert answer["NotInitialized"]
    assert "pool" in answer["Error"]
    daemon.terminate()
    answer = await runtime.call("status")
    assert answer["NotInitialized"]
    assert str(daemon.socket) in answer["Error"]
    daemon.configure()
    await daemon.start()
    await until(lambda: ready(runtime), "Status is well")
    runtime.end()


async def ready(runtime: Runtime) -> bool:
    return not (await runtime.call("status"))["Error"]


async def test_remove_needs_no_readiness(start_daemon: StartDaemon, program: Path, web: Host) -> None:
    """A workload is removed while Status says that the network is not initialized, and its namespace gone."""
    daemon = await start_daemon()
    runtime = Runtime(program, daemon.socket)
    await runtime.setup(web)
    daemon.configure(pools=())
    await daemon.restart()
    assert (await runtime.call("status"))["NotInitialized"]
    web.remove()
    await runtime.done("remove", Path="")
    await runtime.done("remove", Path="")
    runtime.end()


async def test_a_restart_is_waited_for(runtime: Runtime, daemon: Daemon, web: Host) -> None:
    """With the daemon killed, a Remove with little time fails; a Setup goes on once it is back."""
    await runtime.setup(web)
    daemon.kill9()
    answer = await runtime.call("remove", Path=web.path, TimeoutMS=200)
    assert str(daemon.socket) in answer["Error"]
    runtime.begin("setup", Path=web.path)
    await daemon.start()
    answer = await runtime.answer()
    assert answer["Error"] == ""
    await runtime.done("check", Path=web.path)
