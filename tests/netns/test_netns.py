"""Workloads' namespaces: only a network namespace other than the node's is opened, and what is made is marked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netplumb.models.errors import NotANetworkNamespace
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.kernel.namespaces import NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.nftables.table import Nftables
from tests import namespaces
from tests.e2e.hosts import Host
from tests.netns.conftest import NodeNamespace

OWN = "/proc/thread-self/ns/net"


@pytest.fixture
def opener(node: NodeNamespace) -> Iterator[Namespaces]:
    made = Namespaces()
    yield made
    made.close()


def inode(path: str | Path) -> int:
    return Path(path).stat().st_ino


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_workloads_namespace_is_opened_and_the_thread_comes_back(opener: Namespaces, node: NodeNamespace) -> None:
    """After opening, the calling thread is where it was, and the channel speaks with the workload's side."""
    path = node.netns("web")
    before = inode(OWN)
    with opener.open(str(path)) as namespace:
        assert inode(OWN) == before
        assert namespace.cookie != opener.node_cookie
        assert os.fstat(namespace.fd).st_ino == inode(path)


def test_a_closed_namespace_leaves_no_descriptor(opener: Namespaces, node: NodeNamespace) -> None:
    """A namespace held open would keep a dead one alive, so opening and refusing both leave nothing behind."""
    path = node.netns("web")
    before = descriptors()
    opener.open(str(path)).close()
    for refused in ("/proc/self/ns/net", "/proc/self/ns/mnt", "/dev/null"):
        with pytest.raises(NotANetworkNamespace):
            opener.open(refused)
    assert descriptors() == before


def test_the_nodes_own_namespace_is_refused(opener: Namespaces) -> None:
    """Under whichever path, the node's own namespace is never taken for a workload's."""
    for path in (OWN, "/run/netns/node"):
        with pytest.raises(NotANetworkNamespace, match="node's own"):
            opener.open(path)


@pytest.mark.parametrize("kind", ["mnt", "pid", "uts", "ipc", "user", "cgroup"])
def test_other_kinds_of_namespace_are_refused(opener: Namespaces, kind: str) -> None:
    """A namespace file that is not a network namespace's is told as such."""
    with pytest.raises(NotANetworkNamespace, match="not a network namespace"):
        opener.open(f"/proc/self/ns/{kind}")


def test_a_fifo_is_refused_without_waiting_for_its_writer(opener: Namespaces, tmp_path: Path) -> None:
    """Nobody ever writes to the FIFO, so a plain open would never return."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotANetworkNamespace):
        opener.open(str(tmp_path / "fifo"))


def test_files_directories_devices_and_loops_are_refused(opener: Namespaces, tmp_path: Path) -> None:
    """Whatever else may be at a path is refused by its kind."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "file", tmp_path, Path("/dev/null"), tmp_path / "loop"):
        with pytest.raises(NotANetworkNamespace):
            opener.open(str(path))


def test_nothing_at_the_path_is_missing(opener: Namespaces, tmp_path: Path) -> None:
    """No entry, a file in a directory's place and a process that ended are all told as missing."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file" / "below", Path("/proc/999999999/ns/net")):
        with pytest.raises(NamespaceMissingError, match=str(path)):
            opener.open(str(path))


def test_a_made_namespace_carries_its_mark_below_its_name(opener: Namespaces) -> None:
    """Whether netplumb made a namespace is read on the node: it is out of reach of who is inside."""
    cookie = opener.create("made", "netplumb:eth0:web")
    try:
        with opener.open("/run/netns/made") as namespace:
            assert namespace.cookie == cookie
        assert opener.mark_of("made") == "netplumb:eth0:web"
        Host("made").ip("link set lo alias netplumb:eth0:db")
        assert opener.mark_of("made") == "netplumb:eth0:web"
    finally:
        opener.remove("made")
    assert not Path("/run/netns/made").exists()


def test_a_namespace_of_others_has_no_mark(opener: Namespaces, node: NodeNamespace) -> None:
    """What `ip netns add` made is not ours to remove, whatever is said inside."""
    node.netns("web")
    Host("web").ip("link set lo alias netplumb:eth0:web")
    assert opener.mark_of("web") == ""
    assert opener.mark_of("nothing") == ""


def test_a_taken_name_is_left_as_it_is(opener: Namespaces, node: NodeNamespace) -> None:
    """Making a namespace under a name that exists fails and changes nothing there."""
    path = node.netns("web")
    before = inode(path)
    with pytest.raises(FileExistsError):
        opener.create("web", "netplumb:eth0:web")
    assert inode(path) == before


def test_what_a_killed_daemon_left_of_a_name_is_missing_and_made_whole(opener: Namespaces) -> None:
    """Killed between the file and the namespace that is bound to it, in either direction, a daemon leaves the file: the
    next one takes it for nothing, makes the namespace there, or takes it away."""
    opener.create("made", "netplumb:eth0:web")
    path = namespaces.NETNS_DIR / "made"
    namespaces.unmount(path)
    with pytest.raises(NamespaceMissingError):
        opener.open(str(path))
    cookie = opener.create("made", "netplumb:eth0:web")
    with opener.open(str(path)) as namespace:
        assert namespace.cookie == cookie
    assert not opener.is_bare_name("made")
    namespaces.unmount(path)
    assert opener.is_bare_name("made")
    opener.remove("made")
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "something", "netplumb:"])
def test_a_file_of_others_is_no_name_of_ours(opener: Namespaces, content: str) -> None:
    """What `ip netns add` leaves when it is killed, or anyone else, is left as it is."""
    path = namespaces.NETNS_DIR / "theirs"
    path.write_text(content)
    with pytest.raises(NotANetworkNamespace):
        opener.open(str(path))
    with pytest.raises(FileExistsError):
        opener.create("theirs", "netplumb:eth0:web")
    assert not opener.is_bare_name("theirs")
    assert path.read_text() == content
    path.unlink()


def test_a_namespace_that_was_made_and_not_recorded_is_known_by_its_mark(
    opener: Namespaces, node: NodeNamespace
) -> None:
    """A daemon that was killed before it could store the cookie leaves nothing behind; another's namespace stays."""
    nftables = Nftables()
    kernel = LinuxKernel(nftables)
    try:
        opener.create("made", "netplumb:eth0:web")
        theirs = node.netns("theirs")
        kernel.remove_namespace("made", 1)
        assert (namespaces.NETNS_DIR / "made").exists()
        kernel.remove_namespace("made", 0)
        assert not (namespaces.NETNS_DIR / "made").exists()
        kernel.remove_namespace("theirs", 0)
        assert theirs.exists()
    finally:
        kernel.close()
        nftables.close()


def test_removing_what_is_gone_succeeds(opener: Namespaces) -> None:
    """A name that is not there, or is an empty file, has been removed afterwards."""
    opener.remove("none")
    (namespaces.NETNS_DIR / "plain").touch()
    opener.remove("plain")
    assert not (namespaces.NETNS_DIR / "plain").exists()


def test_no_two_namespaces_share_a_cookie(opener: Namespaces) -> None:
    """A namespace made anew under a name is told from the one before it, which inode numbers would not."""
    cookies = [opener.node_cookie]
    for _ in range(5):
        cookies.append(opener.create("again", ""))
        opener.remove("again")
    assert len(set(cookies)) == len(cookies)


def test_two_paths_to_one_namespace_have_one_cookie(opener: Namespaces, node: NodeNamespace) -> None:
    """The cookie is the namespace's, by whichever path it was opened."""
    path = node.netns("web")
    ready, done = threading.Event(), threading.Event()
    tids: list[int] = []

    def stay() -> None:
        with node.in_netns(path):
            tids.append(threading.get_native_id())
            ready.set()
            done.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert ready.wait(10)
        with opener.open(str(path)) as one, opener.open(f"/proc/self/task/{tids[0]}/ns/net") as other:
            assert one.cookie == other.cookie
    finally:
        done.set()
        thread.join()
