"""Three nodes on one link, each with a daemon and a member of an etcd: workloads reach each other by routes and by
VXLAN, a node dies and comes back, etcd loses its leader, a way is broken and repaired. What is said is shown first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import permutations
from pathlib import Path

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import NETNS_DIR
from netplumb.reconciler.sandbox import evidence
from netplumb.reconciler.sandbox.child import NETPLUMB, Daemon
from netplumb.reconciler.sandbox.demo import IF_NAME, damage
from netplumb.reconciler.sandbox.members import CLIENT_PORT, Etcd, Member
from netplumb.reconciler.sandbox.proof import Proof
from netplumb.reconciler.sandbox.stage import GUEST, SandboxError, command, node_state

POOLS = ("10.128.0.0/14", "fd80::/48")
UNDERLAY, DEVICE = "eth0", "np-vxlan"
LINK_MTU = 1500
WORKLOADS = {1: "web", 2: "db", 3: "cache"}
_WITHIN_S = 15.0


def _play() -> Iterator[str]:
    """The stage: a switch that the nodes are on, whose host is their way out."""
    yield "ip link set lo up"
    yield f"ip netns add {GUEST}"
    yield "ip link add lan type bridge mcast_snooping 0"
    yield "ip link set lan addrgenmode none up"
    yield "ip address add 192.0.2.254/24 dev lan"
    yield "ip address add 2001:db8::fe/64 dev lan nodad"
    for number in WORKLOADS:
        node = f"node-{number}"
        yield f"ip netns add {node}"
        yield f"ip link add to-{node} type veth peer name {UNDERLAY} netns {node}"
        yield f"ip link set to-{node} addrgenmode none"
        yield f"ip link set to-{node} master lan up"
        yield f"ip -n {node} link set lo up"
        yield f"ip -n {node} link set {UNDERLAY} addrgenmode none up"
        # Without one of these a node asks for no neighbour for what it forwards.
        yield f"ip -n {node} address add fe80::{number}/64 dev {UNDERLAY} nodad"
        yield f"ip -n {node} address add 192.0.2.{number}/24 dev {UNDERLAY}"
        yield f"ip -n {node} address add 2001:db8::{number}/64 dev {UNDERLAY} nodad"
        yield f"ip -n {node} route add default via 192.0.2.254"
        yield f"ip -n {node} -6 route add default via 2001:db8::fe"


PLAY = "\n".join(_play())


@dataclass(frozen=True, slots=True)
class Node:
    """One of the stage's. Whatever is asked raises SandboxError or ClientError while it is not so."""

    name: str
    workload: str
    daemon: Daemon
    member: Member
    before: tuple[str, ...]

    @property
    def netns(self) -> Path:
        return Path(NETNS_DIR, self.name)

    @property
    def cluster(self) -> Mapping[str, object]:
        """The setting."""
        found = self.daemon.given["cluster"]
        assert isinstance(found, Mapping)
        return found

    def prefixes(self) -> str:
        held = [it.name for it in self.daemon.ask(lambda client: client.status()).pools]
        if len(held) < len(POOLS):
            raise SandboxError(f"it holds {' '.join(held) or 'none'}")
        return " ".join(held)

    def addresses(self) -> Sequence[str]:
        """Of its workload, one of each pool."""
        found = self.daemon.ask(lambda client: client.get(self.workload))
        if found.phase != "Attached" or len(found.addresses) < len(POOLS):
            raise SandboxError(f"{self.workload} is {found.phase}, with {' '.join(found.addresses) or 'no address'}")
        return tuple(found.addresses)

    def attach_guest(self) -> str:
        """Attaches one more, and detaches it."""
        netns = pb.NetNSAttachment(netns_path=f"{NETNS_DIR}/{GUEST}", if_name=IF_NAME)

        async def there_and_back(client: AsyncClient) -> str:
            answer = await client.attach(pb.AttachRequest(workload_id=GUEST, netns=netns))
            await client.detach(pb.DetachRequest(workload_id=GUEST, netns=netns))
            return " ".join(str(ip_address(ip)) for ip in answer.ip)

        return self.daemon.ask(there_and_back)

    def device(self) -> str:
        said = command(*self.daemon.entrance, "ip", "-oneline", "-details", "link", "show", DEVICE)
        entries = command(*self.daemon.entrance, "bridge", "fdb", "show", "dev", DEVICE).splitlines()
        if len(entries) < len(WORKLOADS) - 1:
            raise SandboxError(f"it leads to {len(entries)} nodes")
        return f"{DEVICE}, MTU {_mtu_in(said)}, to {len(entries)} nodes"

    def workload_mtu(self) -> str:
        netns = f"--net={NETNS_DIR}/{self.workload}"
        mtu = _mtu_in(command("nsenter", netns, "ip", "-oneline", "link", "show", IF_NAME))
        if mtu >= LINK_MTU:
            raise SandboxError(f"MTU {mtu}")
        return f"MTU {mtu}"


def _mtu_in(said: str) -> int:
    words = said.split()
    return int(words[words.index("mtu") + 1])


def live(directory: Path, proof: Proof, *, deaf: Callable[[], None]) -> None:
    """From the first start to the purge of all nodes. A KeyboardInterrupt comes through; after it nothing is to be cut
    off, for which `deaf` is called."""
    nodes = [_node(number, workload, directory) for number, workload in WORKLOADS.items()]
    proof.note("Three namespaces play nodes on one link; this machine's own network is left alone.")
    proof.note(f"The cluster's pools are {' and '.join(POOLS)}, of which each node takes its part.")
    try:
        with ExitStack() as stack:
            etcd = stack.enter_context(Etcd([it.member for it in nodes]))
            try:
                Story(nodes, etcd, proof, stack).tell()
            finally:
                deaf()
    finally:
        proof.chapter("Leaving")
        for it in nodes:
            proof.claim(f"{it.name} is purged", it.daemon.purge)
        proof.claim("all nodes are as they were", lambda: _as_before(nodes))


def _node(number: int, workload: str, directory: Path) -> Node:
    name = f"node-{number}"
    entrance = ("nsenter", f"--net={NETNS_DIR}/{name}", "--")
    place = directory / name
    declared = place / "declared"
    declared.mkdir(parents=True)
    document = f"kind: Attachment\nworkload_id: {workload}\nnetns: {{name: {workload}, create: true}}\n"
    (declared / f"{workload}.yaml").write_text(document)
    cluster = {
        "endpoints": [f"http://192.0.2.{it}:{CLIENT_PORT}" for it in WORKLOADS],
        "node_name": name,
        "underlay": UNDERLAY,
        "mode": "routes",
        "lease_s": 5,
        "silence_s": 3,
        "pools": [{"cidr": cidr} for cidr in POOLS],
    }
    daemon = Daemon(place, declared, entrance=entrance, given={"pools": [], "cluster": cluster})
    member = Member(name, f"192.0.2.{number}", entrance, place)
    return Node(name, workload, daemon, member, tuple(node_state(*entrance)))


def _as_before(nodes: Sequence[Node]) -> None:
    for it in nodes:
        after = node_state(*it.daemon.entrance)
        differs = [f"- {line}" for line in it.before if line not in after]
        differs += [f"+ {line}" for line in after if line not in it.before]
        if differs:
            raise SandboxError(f"{it.name}: {'; '.join(differs)}")


class Story:
    """Chapter by chapter; it ends early where what follows would make no sense."""

    def __init__(self, nodes: Sequence[Node], etcd: Etcd, proof: Proof, stack: ExitStack) -> None:
        self._nodes = nodes
        self._etcd = etcd
        self._proof = proof
        self._stack = stack
        self._has: dict[str, Sequence[str]] = {}
        """The addresses of each workload."""

    def tell(self) -> None:
        if not self._begins():
            return
        self._proof.chapter("Workloads on each reach each other, by routes")
        self._reach_each_other()
        self._a_way_is_broken()
        self._etcd_loses_its_leader()
        self._a_node_dies()
        self._by_vxlan()
        self._proof.chapter("All is well")
        for it in self._nodes:
            self._claim(f"{it.name} finds nothing to change", partial(_in_sync, it))
        if self._proof.on_terminal and not self._proof.failures:
            self._stays()

    def _claim(self, claim: str, true: Callable[[], object]) -> bool:
        return self._proof.claim(claim, partial(_soon, true))

    def _begins(self) -> bool:
        self._proof.chapter("Three nodes, and an etcd of three members")
        if not self._proof.claim("etcd has a leader", lambda: self._etcd.leader().name):
            return False
        for it in self._nodes:
            self._stack.enter_context(it.daemon)
        joined = [self._claim(f"{it.name} has prefixes of its own", it.prefixes) for it in self._nodes]
        return all(joined) and all(
            self._claim(f"{it.workload} is attached on {it.name}", partial(self._learn, it)) for it in self._nodes
        )

    def _learn(self, node: Node) -> str:
        self._has[node.name] = node.addresses()
        return " ".join(self._has[node.name])

    def _reach_each_other(self) -> None:
        for source, target in permutations(self._nodes, 2):
            self._reaches(source, target)

    def _reaches(self, source: Node, target: Node, more: str = "") -> None:
        def answered() -> str:
            found = ((it, evidence.ping(Path(NETNS_DIR, source.workload), it)) for it in self._has[target.name])
            return ", ".join(f"{address} {took}" for address, took in found)

        self._claim(f"ping {source.workload} -> {target.workload} on {target.name}{more}", answered)

    def _a_way_is_broken(self) -> None:
        one = self._nodes[0]
        self._proof.chapter("A way is broken, on purpose")
        with evidence.network_of(one.netns, UNDERLAY) as read:
            damage(
                (*one.daemon.entrance, "ip", "-4", "route", "flush", "proto", "78", "dev", UNDERLAY), read, self._proof
            )

    def _etcd_loses_its_leader(self) -> None:
        self._proof.chapter("etcd loses its leader")
        leader = self._etcd.leader()
        self._proof.note(f"      # kill the member on {leader.name}, which leads")
        leader.kill()
        self._proof.claim("another one leads", lambda: f"that on {self._etcd.leader().name}")
        self._proof.claim(f"{GUEST} is attached on {self._nodes[1].name}, and detached", self._nodes[1].attach_guest)
        self._reach_each_other()
        leader.start(self._etcd.members)

    def _a_node_dies(self) -> None:
        one, _, three = self._nodes
        self._proof.chapter("A node dies, and comes back")
        self._proof.note(f"      # kill the daemon and the member of etcd on {three.name}")
        three.daemon.kill()
        three.member.kill()
        self._reaches(one, three, ", which lives on")
        three.member.start(self._etcd.members)
        three.daemon.start()
        self._claim(f"{three.name} has the prefixes that it had", three.prefixes)
        self._claim(f"{three.workload} has the addresses that it had", lambda: self._as_it_was(three))
        self._reach_each_other()

    def _as_it_was(self, node: Node) -> str:
        if (found := node.addresses()) != self._has[node.name]:
            raise SandboxError(f"it has {' '.join(found)}")
        return " ".join(found)

    def _by_vxlan(self) -> None:
        self._proof.chapter("The same by VXLAN")
        for it in self._nodes:
            it.daemon.stop()
            it.daemon.start(cluster={**it.cluster, "mode": "vxlan"})
        for it in self._nodes:
            self._claim(f"{it.name} has a device to the others", it.device)
        self._claim("workloads' interfaces are smaller by what it takes", self._nodes[0].workload_mtu)
        self._reach_each_other()
        one = self._nodes[0]
        with evidence.network_of(one.netns, DEVICE) as read:
            damage((*one.daemon.entrance, "ip", "link", "set", DEVICE, "down"), read, self._proof)

    def _stays(self) -> None:
        one = self._nodes[0]
        self._proof.chapter("It stays up until Ctrl-C. From another terminal, try")
        self._proof.show(
            f"  export NETPLUMB_SOCKET={one.daemon.socket}\n"
            f"  {NETPLUMB} status\n"
            f"  {NETPLUMB} cluster status --config {one.daemon.config}\n"
        )
        with suppress(KeyboardInterrupt):
            one.daemon.wait_for_end()


def _soon(true: Callable[[], object]) -> object:
    """What is found once it is true. Raises what was in the way, when it is so for long."""
    deadline = time.monotonic() + _WITHIN_S
    while True:
        try:
            return true()
        except (SandboxError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _in_sync(node: Node) -> None:
    made = node.daemon.ask(lambda client: client.plan())
    if made.changes or made.unmet:
        unmet = (f"{it.reason}: {it.message}" for it in made.unmet)
        raise SandboxError("; ".join([*unmet, *(f"{change.verb} {change.words}" for change in made.changes)]))
