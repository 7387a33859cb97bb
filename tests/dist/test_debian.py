"""The Debian package in Debian 12 and 13: installed, upgraded, removed and purged beside workloads that send.

No init system runs there, so that the tests start and stop the daemon where systemd would.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dist.conftest import Made
from tests.dist.roots import Root, debian

pytestmark = pytest.mark.timeout(900)  # with what is made before the first test

READY_WITHIN_S = 20.0
POOLS = ("10.99.0.0/24", "fd99::/64")
CONFIG = "/etc/netplumb/netplumb.yaml"
KEEP_EDITS = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
SWITCH = "/proc/sys/net/ipv4/ip_forward"
TARGETS = ("10.99.0.1", "fd99::1")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """Debian 12, and Debian 13."""
    with debian(request.param, tmp_path_factory.mktemp(request.param)) as root:
        yield root


@pytest.fixture
def root(system: Root, made: Made) -> Iterator[Root]:
    """A system where the package is installed, and pools are written into its configuration."""
    system.install(made.deb)
    system.shell(f"sed -i 's|^pools: .*|pools: [{', '.join(POOLS)}]|' {CONFIG}")
    yield system
    system.end_started()
    system.run("dpkg", "--purge", "netplumb")
    system.shell("for each in $(ip netns list | cut -d ' ' -f 1); do ip netns delete $each; done")


@pytest.fixture(scope="module")
def newer(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a later version, whose configuration file was changed too."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(made.deb), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: (.*)$", r"Version: \1+1", control.read_text(), flags=re.MULTILINE))
    with (tree / CONFIG[1:]).open("a") as config:
        config.write("# A setting of the later version.\n")
    build = ("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(tree.parent))
    subprocess.run(build, stdout=subprocess.DEVNULL, check=True)
    (deb,) = tree.parent.glob("*.deb")
    return deb


def start_daemon(root: Root) -> subprocess.Popen[str]:
    """What the unit's ExecStart says, until it is ready."""
    command = root.shell("sed -n s/^ExecStart=//p /usr/lib/systemd/system/netplumb.service").split()
    daemon = root.start(*command)
    deadline = time.monotonic() + READY_WITHIN_S
    while "netplumb serves" not in root.said(daemon):
        assert daemon.poll() is None, root.said(daemon)
        assert time.monotonic() < deadline, root.said(daemon)
        time.sleep(0.1)
    return daemon


def attach(root: Root, workload: str) -> list[str]:
    root.run("ip", "netns", "add", workload)
    return root.run("netplumb", "attach", workload, "--netns", workload).split()


def reaches(root: Root, workload: str) -> bool:
    words = "ip netns exec {} ping -n -c 1 -W 2 {}"
    return all(" 0% packet loss" in root.run(*words.format(workload, to).split(), ok=False) for to in TARGETS)


def traces(root: Root) -> str:
    """Files of the package's, save those that the test put there."""
    return root.shell("find / -xdev -name '*netplumb*' -not -path '/root/*' -not -path '/tmp/*'")


def kernel_traces(root: Root) -> list[object]:
    """What of the node's network tells of netplumb."""
    found: list[object] = [*root.ip("link show group 28272"), *root.ip("route show table all proto 78")]
    found += [*root.ip("-6 route show table all proto 78")]
    for entry in root.ip("address show dev lo"):
        found += [info["local"] for info in entry.get("addr_info", ()) if info["local"] not in ("127.0.0.1", "::1")]
    return found + root.run("nft", "list", "tables").splitlines()


def test_the_unit_and_the_completions_are_sound(root: Root) -> None:
    """systemd knows each word of the unit, and the files it names are there; each shell takes its completion."""
    assert root.run("systemd-analyze", "verify", "netplumb.service") == ""
    documents = root.shell("sed -n s,^Documentation=,,p /usr/lib/systemd/system/netplumb.service").split()
    assert documents
    for document in documents:
        root.run("test", "-s", document.removeprefix("file://"))
    assert CONFIG in root.run("netplumb", "config", "show")
    completed = "COMP_WORDS=(netplumb dae); COMP_CWORD=1; _netplumb_completion netplumb; echo ${COMPREPLY[*]}"
    assert root.run("bash", "-c", f". /usr/share/bash-completion/completions/netplumb; {completed}") == "daemon\n"
    root.run("zsh", "-n", "/usr/share/zsh/vendor-completions/_netplumb")
    assert root.run("fish", "-c", "complete --do-complete 'netplumb dae'").split()[0] == "daemon"


def test_an_upgrade_keeps_the_network_and_the_configuration(root: Root, newer: Path) -> None:
    """No packet is lost while the package is replaced and the daemon restarted; what was written stays written."""
    daemon = start_daemon(root)
    addresses = attach(root, "web")
    pings = [root.start(*f"ip netns exec web ping -n -i 0.02 {to}".split()) for to in TARGETS]
    edited = root.run("cat", CONFIG)

    root.install(newer, *KEEP_EDITS)
    root.stop(daemon)
    daemon = start_daemon(root)
    assert root.run("netplumb", "attach", "web", "--netns", "web").split() == addresses
    assert len(attach(root, "db")) == 2

    for ping in pings:
        said = root.stop(ping, signal.SIGINT)
        assert " 0% packet loss" in said, said
    assert root.run("cat", CONFIG) == edited
    assert "A setting of the later version" in root.run("cat", f"{CONFIG}.dpkg-dist")
    root.stop(daemon)


def test_removed_it_leaves_the_network_and_what_was_written(root: Root) -> None:
    """The workloads go on. Only a runtime is not sent to a daemon that is no more."""
    daemon = start_daemon(root)
    attach(root, "web")
    told = " ".join(root.run("netplumb", "cni", "install").split())  # where a line breaks is the terminal's
    assert "netplumb-cni is compiled, from /opt/netplumb/libexec" in told
    environment = "CNI_COMMAND=ADD CNI_CONTAINERID=db CNI_IFNAME=eth0 CNI_NETNS=/run/netns/db"
    root.run("ip", "netns", "add", "db")
    asked = '{"cniVersion": "1.0.0", "name": "netplumb", "type": "netplumb-cni"}'
    assert "10.99.0." in root.shell(f"echo '{asked}' | {environment} /opt/cni/bin/netplumb-cni")
    edited = root.run("cat", CONFIG)
    root.stop(daemon)

    root.apt("remove", "netplumb")
    assert root.run("cat", CONFIG) == edited
    assert not [path for path in traces(root).splitlines() if path.startswith(("/opt", "/usr/bin", "/etc/cni"))]
    assert reaches(root, "web")


def test_purged_it_leaves_nothing(root: Root) -> None:
    """Not in the file system, not on the node's network and its switches; what is somebody else's stays there."""
    switch = root.run("cat", SWITCH)
    root.shell("ip link add theirs0 type veth peer name theirs1; ip address add 198.51.100.1/32 dev lo")
    rules = root.ip("rule")
    daemon = start_daemon(root)
    attach(root, "web")
    assert reaches(root, "web")
    assert kernel_traces(root)
    root.stop(daemon)

    root.apt("purge", "netplumb")
    assert traces(root) == ""
    assert kernel_traces(root) == ["198.51.100.1"]
    assert root.ip("link show theirs0")
    assert root.ip("rule") == rules
    assert root.run("cat", SWITCH) == switch
    assert not reaches(root, "web")
    root.shell("ip link delete theirs0; ip address delete 198.51.100.1/32 dev lo")
