"""The table `inet netplumb` in the real kernel: what is rendered lists back identically, and drift is seen and healed.

`nft`, the command, plays everybody else on the host.
"""

from __future__ import annotations

import ctypes
import errno
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from netplumb.models.cluster import ClusterMode, ClusterView
from netplumb.models.errors import Outdated, Retryable, Terminal
from netplumb.models.flows import Crowding
from netplumb.models.network import Node
from netplumb.models.nft import NODE_CLOSED, Match, NftChain, NftElement, NftSet, canonical_rule, hairpin_set, port_sets
from netplumb.models.ports import PORTS_MAX
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render import render_node
from netplumb.reconciler.decide.render.crowding import crowding_of, render_crowding
from netplumb.reconciler.kernel.nftables.events import NftHeard, NftListener
from netplumb.reconciler.kernel.nftables.libnftables import Libnftables
from netplumb.reconciler.kernel.nftables.table import Nftables
from tests.netns.conftest import NodeNamespace

FOREIGN_CHAINS = 3000


def nft(script: str) -> str:
    """What somebody else on the host does to the ruleset."""
    done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_foreign_chains() -> None:
    """A large ruleset, in parts: without root's rights over the machine one message holds no more (EMSGSIZE)."""
    for first in range(0, FOREIGN_CHAINS, 500):
        chains = (f"chain c{n} {{ counter accept; }};" for n in range(first, first + 500))
        nft(f"table inet theirs {{ {' '.join(chains)} }}")


def jump(target: str) -> str:
    return canonical_rule([{"jump": {"target": target}}])


TableObject = NftSet | NftChain | NftElement

OWNER = "npabcdefghijkl"


def mapped(version: int, match: Match, address: str, port: int, *, at_one_address: bool = False) -> list[NftElement]:
    """One port of the node, as the two maps hold it."""
    addresses, ports = port_sets(version, at_one_address=at_one_address)
    return [NftElement(addresses.name, match, address, OWNER), NftElement(ports.name, match, port, OWNER)]


ELEMENTS = (
    *mapped(4, (17, 5300), "10.9.0.2", 53),
    *mapped(6, ("::1", 6, 80), "fd09::2", 8080, at_one_address=True),
    NftElement(hairpin_set(6).name, ("fd09::2", "fd09::2"), owner=OWNER),
    NftElement(NODE_CLOSED.name, (OWNER,), owner=OWNER),
)


def wanted(
    *, masquerade: bool = True, isolated: bool = False, elements: Sequence[NftElement] = ELEMENTS
) -> set[TableObject]:
    """All of the table, for a node with addresses of both families."""
    addresses = (ip_address("10.9.0.1"), ip_address("fd09::1"))
    node = Node(addresses, masquerade=masquerade, isolate_node=isolated, isolate_workloads=isolated)
    return {it for it in render_node(node) if isinstance(it, NftSet | NftChain)} | set(elements)


def chain(name: str, *, masquerade: bool = True) -> NftChain:
    return next(it for it in wanted(masquerade=masquerade) if isinstance(it, NftChain) and it.name == name)


@pytest.fixture
def nftables(node: NodeNamespace) -> Iterator[Nftables]:
    with closing(Nftables()) as nftables:
        yield nftables


def bring(nftables: Nftables, things: Iterable[TableObject]) -> None:
    """One pass for the table, as the loop makes it."""
    nftables.apply(plan(things, {thing.key: thing for thing in held(nftables)}).steps)


def held(nftables: Nftables) -> set[TableObject]:
    declared = {it for it in nftables.observe() if isinstance(it, NftSet | NftChain)}
    return declared | set(nftables.elements().values())


def test_a_port_that_became_anothers_since_it_was_read_stays(nftables: Nftables) -> None:
    """Who had it gives it up by what a thread read a moment ago; who has it now is not to be without it."""
    port = mapped(4, (6, 80), "10.9.0.2", 80)
    bring(nftables, wanted(elements=port))
    read = [it for it in nftables.elements_of(OWNER, ()) if it.match == (6, 80)]
    taken = [NftElement(it.set, it.match, it.value if it.value == 80 else "10.9.0.3", "npother") for it in port]
    nftables.apply([Step(Verb.CHANGE, new, old) for new, old in zip(taken, port, strict=True)])
    nftables.apply([Step(Verb.REMOVE, it) for it in read])
    with closing(Nftables()) as another:
        assert {*another.elements().values(), *nftables.elements().values()} == set(taken)


def test_what_is_wished_no_more_is_not_written(nftables: Nftables) -> None:
    bring(nftables, wanted(elements=()))
    with pytest.raises(Outdated):
        nftables.apply([Step(Verb.ADD, it) for it in mapped(4, (6, 80), "10.9.0.2", 80)], lambda: False)
    assert not nftables.elements()


def test_without_the_table_there_is_nothing(nftables: Nftables) -> None:
    """A missing table is an empty one, not an error."""
    assert held(nftables) == set()


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("masquerade", [True, False])
def test_what_is_rendered_lists_back_identically(nftables: Nftables, masquerade: bool, isolated: bool) -> None:
    """The canonical form is the kernel's own, so a converged table has no difference."""
    things = wanted(masquerade=masquerade, isolated=isolated)
    bring(nftables, things)
    with closing(Nftables()) as another:
        assert held(another) == things


@pytest.mark.parametrize(
    "crowding",
    [Crowding(frozenset({"npone"})), Crowding(frozenset({"npone", "nptwo"}), frozenset({"npone", "npthree"}))],
    ids=["one", "several"],
)
def test_the_rules_for_who_holds_too_many_flows_list_back_identically(nftables: Nftables, crowding: Crowding) -> None:
    """They come and go beside the rest."""
    others = wanted()
    bring(nftables, others)
    things = {*others, *render_crowding(Node(crowding=crowding))}
    bring(nftables, things)
    with closing(Nftables()) as another:
        assert held(another) == things
        assert crowding_of(another.observe()) == crowding
    bring(nftables, others)
    assert held(nftables) == others


@pytest.mark.parametrize(
    "pools",
    [
        ("10.128.0.0/14",),
        ("10.128.0.0/14", "fd80::/48"),
        ("10.0.0.0/8", "192.168.0.0/17", "192.168.128.0/17", "172.16.0.0/12", "172.32.0.0/16"),
    ],
    ids=str,
)
def test_the_rules_between_nodes_list_back_identically(nftables: Nftables, pools: Sequence[str]) -> None:
    """Also where pools of a cluster lie side by side."""
    cluster = ClusterView("node-1", ClusterMode.ROUTES, pools=tuple(map(ip_network, pools)))
    node = Node((ip_address("10.128.0.1"),), cluster=cluster)
    things = {it for it in render_node(node) if isinstance(it, NftSet | NftChain)}
    assert [rule for it in things if isinstance(it, NftChain) for rule in it.rules if "other nodes" in rule]
    bring(nftables, things)
    with closing(Nftables()) as another:
        assert held(another) == things


def test_a_node_without_addresses_lists_back_identically(nftables: Nftables) -> None:
    """Before there is a pool, sources are masqueraded instead."""
    things = {it for it in render_node(Node()) if isinstance(it, NftSet | NftChain)}
    bring(nftables, things)
    with closing(Nftables()) as another:
        assert held(another) == things


def test_masquerading_is_switched_off_and_on_again(nftables: Nftables) -> None:
    """Either way only the rules change."""
    for masquerade in (True, False, True):
        bring(nftables, wanted(masquerade=masquerade))
        assert held(nftables) == wanted(masquerade=masquerade)


def test_the_view_is_carried_on_over_our_own_transactions(nftables: Nftables) -> None:
    """What is written need not be read, and is what a reading would say."""
    bring(nftables, wanted())
    readings = nftables.readings
    moved = NftElement(ELEMENTS[0].set, ELEMENTS[0].match, "10.9.0.3", "npother")
    for elements in ((), ELEMENTS, ELEMENTS[1:], (moved, *ELEMENTS[1:])):
        bring(nftables, wanted(elements=elements))
        assert held(nftables) == wanted(elements=elements)
        assert nftables.readings == readings
        with closing(Nftables()) as another:
            assert held(another) == held(nftables)
    assert nftables.elements_of("npother", ()) == [moved]
    assert set(nftables.elements_of(OWNER, [moved.key])) == {*ELEMENTS[1:], moved}
    assert set(nftables.remove_owned([OWNER, "npother"])) == {*ELEMENTS[1:], moved}
    assert held(nftables) == wanted(elements=())


def test_others_commits_to_other_tables_cost_no_reading(nftables: Nftables) -> None:
    """A busy firewall beside us is none of our business; one that touches our table is."""
    bring(nftables, wanted())
    readings = nftables.readings
    with closing(NftListener()) as listener:
        for number in range(3):
            nft(f"add table inet theirs{number}; add chain inet theirs{number} c")
        assert nftables.told(listener.drain().commits)
        assert held(nftables) == wanted()
        assert nftables.readings == readings
        nft("add table inet theirs; flush chain inet netplumb postrouting")
        nft("add table inet theirs4")
        assert not nftables.told(listener.drain().commits)
    assert held(nftables) != wanted()
    assert nftables.readings == readings + 1


def test_what_was_read_since_was_written_by_others_all_the_same(nftables: Nftables) -> None:
    """A reading for an attachment does not hide that somebody else wrote: the rest has yet to be compared with it."""
    bring(nftables, wanted(elements=()))
    with closing(NftListener()) as listener:
        bring(nftables, wanted())
        assert nftables.told(listener.drain().commits)
        nft("add element inet netplumb node_open { npstranger }")
        nftables.elements_of(OWNER, [ELEMENTS[0].key])
        assert not nftables.told(listener.drain().commits)
        bring(nftables, wanted())
        assert nftables.told(listener.drain().commits)


def test_what_was_written_between_is_seen(nftables: Nftables) -> None:
    """A transaction of ours does not hide one of another's right before it."""
    bring(nftables, wanted(elements=()))
    nft("add element inet netplumb node_open { npstranger }")
    nftables.apply([Step(Verb.ADD, element) for element in ELEMENTS])
    assert held(nftables) == wanted() | {NftElement("node_open", ("npstranger",))}


def test_what_was_written_beside_others_is_known_before_it_is_read_again(nftables: Nftables) -> None:
    """A removal that follows at once finds what there is of a link, though the view does not hold any more."""
    bring(nftables, wanted(elements=()))
    nft("add table inet theirs")
    nftables.apply([Step(Verb.ADD, element) for element in ELEMENTS])
    assert [nftables.element(it.key) for it in ELEMENTS] == [*ELEMENTS]
    assert {*nftables.remove_owned([OWNER])} == {*ELEMENTS}
    assert not nftables.elements()


def test_thousands_of_elements_are_one_transaction(nftables: Nftables) -> None:
    """As many as an attachment may map, in both families, and they list back identically."""
    many = [it for port in range(1, PORTS_MAX + 1) for it in mapped(4, (6, port), "10.9.0.2", port)]
    bring(nftables, wanted(elements=many))
    with closing(Nftables()) as another:
        assert held(another) == wanted(elements=many)
    assert len(nftables.remove_owned([OWNER])) == 2 * PORTS_MAX
    assert held(nftables) == wanted(elements=())


def test_beside_thousands_of_elements_of_one_others_have_their_turns(nftables: Nftables) -> None:
    """What is one's goes in and out a few at a time, each port as a whole, and somebody else's waits for a few."""
    many = [it for port in range(1, PORTS_MAX + 1) for it in mapped(4, (6, port), "10.9.0.2", port)]
    bring(nftables, wanted(elements=()))
    other, between = NftElement("node_open", ("npother",), owner="npother"), list[tuple[int, int]]()
    with ThreadPoolExecutor(1) as beside:
        for carry_out in (
            lambda: nftables.apply_in_turns([Step(Verb.ADD, element) for element in many]),
            lambda: nftables.remove_owned([OWNER]),
        ):
            done, turns = beside.submit(carry_out), 0
            while not done.done():
                nftables.apply([Step(Verb.ADD, other)])
                nftables.apply([Step(Verb.REMOVE, other)])
                turns += 1
                found = Counter(it.set for it in nftables.elements().values())
                between.append((found["port4_address"], found["port4_port"]))
            done.result()
            assert turns > 10
    assert all(addresses == ports for addresses, ports in between)
    assert any(0 < addresses < PORTS_MAX for addresses, _ in between)
    assert held(nftables) == wanted(elements=())


DRIFTS = {
    "rules removed": "flush chain inet netplumb postrouting",
    "rule added": "insert rule inet netplumb postrouting counter drop",
    "comment changed": "flush chain inet netplumb postrouting; add rule inet netplumb postrouting iifgroup 28272"
    ' oifgroup != 28272 counter masquerade comment "theirs"',
    "policy changed": "chain inet netplumb postrouting { policy drop; }",
    "ruleset flushed": "flush ruleset",
    "table deleted": "delete table inet netplumb",
    "chain deleted": "flush chain inet netplumb postrouting; delete chain inet netplumb postrouting",
    "hook changed": "delete table inet netplumb; table inet netplumb { chain postrouting {"
    " type nat hook prerouting priority -100; }; }",
    "made regular": "delete table inet netplumb; table inet netplumb { chain postrouting { counter; }; }",
    "made dormant": "add table inet netplumb { flags dormant; }",
    "made dormant and emptied": "delete table inet netplumb; add table inet netplumb { flags dormant; }",
    "map to a chain added": "table inet netplumb { chain c { };"
    " map m { type ipv4_addr : verdict; elements = { 192.0.2.1 : jump c }; }; }",
    "element removed": "delete element inet netplumb node_closed { npabcdefghijkl }",
    "element added": "add element inet netplumb node_closed { npstranger }",
    "elements flushed": "flush map inet netplumb port4_address",
    "mapping led elsewhere": "delete element inet netplumb port4_address { udp . 5300 };"
    " add element inet netplumb port4_address { udp . 5300 : 10.9.0.66 }",
    "set made anew with flags": "delete table inet netplumb; table inet netplumb { set node_open {"
    " type ifname; flags interval; }; }",
    "counter added": "table inet netplumb { counter c { }; }",
    "set added": "table inet netplumb { set s { type ipv4_addr; }; }",
    "chains added": "table inet netplumb { chain b { }; chain a { jump b; }; chain c { jump a; jump b; }; }",
}


@pytest.mark.parametrize("script", DRIFTS.values(), ids=DRIFTS)
def test_drift_is_seen_and_healed(nftables: Nftables, script: str) -> None:
    """Whatever others do to the table is seen at the next reading, and one transaction makes it whole."""
    bring(nftables, wanted())
    assert held(nftables) == wanted()
    nft(script)
    assert held(nftables) != wanted()
    bring(nftables, wanted())
    assert held(nftables) == wanted()
    with closing(Nftables()) as another:
        assert held(another) == wanted()


def test_what_rules_counted_is_not_drift(nftables: Nftables) -> None:
    """Traffic alone changes nothing of what is observed."""
    bring(nftables, wanted())
    listed = nft("list chain inet netplumb postrouting")
    counted = listed.replace("counter packets 0 bytes 0", "counter packets 5 bytes 400")
    assert counted != listed
    nft(f"flush chain inet netplumb postrouting; {counted}")
    assert held(nftables) == wanted()


def test_foreign_tables_are_left_alone(nftables: Nftables) -> None:
    """Neither convergence nor purging touches a table that is not ours."""
    nft("table inet theirs { chain c { counter drop; }; }; table ip netplumb { chain c { accept; }; }")
    before = nft("list ruleset")
    bring(nftables, wanted())
    assert held(nftables) == wanted()
    nftables.delete_table()
    assert nft("list ruleset") == before


def test_purging_twice_is_fine(nftables: Nftables) -> None:
    """What is gone already has been removed."""
    bring(nftables, wanted())
    for _ in range(2):
        nftables.delete_table()
        assert held(nftables) == set()


@pytest.mark.parametrize("order", [1, -1], ids=["target first", "target last"])
def test_chains_may_jump_to_one_another(nftables: Nftables, order: int) -> None:
    """Chains that refer to each other come and go in one transaction, in whatever order the steps are."""
    target, caller = NftChain("target"), NftChain("caller", rules=(jump("target"),))
    chains = (target, caller)[::order]
    nftables.apply([Step(Verb.ADD, chain) for chain in chains])
    assert held(nftables) == {target, caller}
    nftables.apply([Step(Verb.REMOVE, chain) for chain in chains])
    assert nftables.observe() == ()


@pytest.mark.parametrize("order", [1, -1], ids=["change first", "removal first"])
def test_a_chain_goes_together_with_the_rule_that_names_it(nftables: Nftables, order: int) -> None:
    """A target is removed in the transaction that takes the last jump to it out of another chain."""
    target, caller = NftChain("target"), NftChain("caller", rules=(jump("target"),))
    nftables.apply([Step(Verb.ADD, target), Step(Verb.ADD, caller)])
    freed = NftChain("caller")
    nftables.apply([Step(Verb.CHANGE, freed, caller), Step(Verb.REMOVE, target)][::order])
    assert held(nftables) == {freed}


def test_a_chain_that_vanished_since_it_was_observed_is_made_anew(nftables: Nftables) -> None:
    """A plan made from an older reading still comes true."""
    nftables.apply([Step(Verb.ADD, it) for it in wanted() if isinstance(it, NftSet)])
    nftables.apply([Step(Verb.CHANGE, chain("postrouting"), chain("postrouting", masquerade=False))])
    assert chain("postrouting") in held(nftables)


def test_a_transaction_is_all_or_nothing(nftables: Nftables) -> None:
    """One step that the kernel refuses leaves everything as it was, and is told with its errno."""
    bring(nftables, wanted())
    generation = nftables.generation()
    good = Step(Verb.CHANGE, chain("postrouting", masquerade=False), chain("postrouting"))
    bad = Step(Verb.ADD, NftChain("caller", rules=(jump("nowhere"),)))
    with pytest.raises(Retryable, match="ENOENT") as refused:
        nftables.apply([good, bad])
    assert refused.value.code == errno.ENOENT
    assert nftables.generation() == generation
    assert held(nftables) == wanted()


class CountedListings(Libnftables):
    """Counts the transactions and listings that reach libnftables."""

    runs = 0

    def run(self, *args: Any) -> list[dict[str, Any]]:
        self.runs += 1
        return super().run(*args)


def test_an_unchanged_ruleset_is_not_listed_again(nftables: Nftables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading costs a listing only after something changed, whoever changed it and in whichever table."""
    bring(nftables, wanted())
    with closing(CountedListings()) as counted:
        monkeypatch.setattr(nftables, "_nft", counted)
        for expected, script in ((0, ""), (1, "add table inet theirs"), (2, "flush chain inet netplumb postrouting")):
            nft(script)
            assert nftables.observe() == nftables.observe()
            assert counted.runs == expected
        monkeypatch.undo()
    assert NftChain("postrouting", "nat", "postrouting", 100, "accept") in held(nftables)


def test_a_ruleset_that_changes_meanwhile_is_read_again(nftables: Nftables, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading into which somebody wrote is not kept; one that never ends is told as an error to be retried."""
    bring(nftables, wanted())
    writes = iter(["flush chain inet netplumb postrouting"])

    class Disturbed(CountedListings):
        def run(self, *args: Any) -> list[dict[str, Any]]:
            listed = super().run(*args)
            nft(next(writes, ""))
            return listed

    with closing(Disturbed()) as disturbed:
        monkeypatch.setattr(nftables, "_nft", disturbed)
        nft("add table inet theirs")
        assert NftChain("postrouting", "nat", "postrouting", 100, "accept") in nftables.observe()
        assert disturbed.runs == 2
        nft("add table inet theirs0")
        writes = iter([f"add table inet theirs{n}" for n in range(1, 100)])
        with pytest.raises(Retryable) as refused:
            nftables.observe()
        assert refused.value.reason == "NftablesBusy"
        monkeypatch.undo()


def test_a_context_stays_in_the_namespace_it_was_made_in(node: NodeNamespace, nftables: Nftables) -> None:
    """What a thread writes while it visits a workload's namespace lands on the node all the same."""
    with node.in_netns(node.netns("workload")):
        bring(nftables, wanted())
        assert held(nftables) == wanted()
        with closing(Nftables()) as theirs:
            assert held(theirs) == set()


def test_thousands_of_foreign_chains_do_no_harm(nftables: Nftables) -> None:
    """Beside a large ruleset the table is read and healed as ever."""
    add_foreign_chains()
    bring(nftables, wanted())
    assert held(nftables) == wanted()
    nft("flush chain inet netplumb postrouting")
    bring(nftables, wanted())
    assert held(nftables) == wanted()


def test_a_changed_ruleset_is_heard_once(nftables: Nftables) -> None:
    """The listener's descriptor is readable after a change, and draining it leaves nothing behind."""
    with closing(NftListener()) as listener:
        assert listener.drain() == NftHeard()
        nft("add table inet theirs; flush ruleset")
        nft("table inet netplumb { }; add table inet others")
        assert select.select([listener], [], [], 5)[0]
        assert [commit.ours for commit in listener.drain().commits] == [False, True]
        assert listener.drain() == NftHeard()


def test_lost_messages_are_heard_as_a_change(nftables: Nftables) -> None:
    """More changes than the socket's buffer holds still come through as one, and do not raise."""
    with closing(NftListener()) as listener:
        add_foreign_chains()
        assert listener.drain().lost
        assert listener.drain() == NftHeard()


def test_words_that_libnftables_does_not_understand_are_terminal() -> None:
    """No repetition heals a command that is wrong in itself, and the error quotes what libnftables said."""
    with closing(Libnftables()) as library, pytest.raises(Terminal, match="Unknown object"):
        library.run([{"add": {"nonsense": {}}}])


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs netplumb where libnftables is not installed is told what to install."""

    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(Terminal, match="libnftables1"):
        Libnftables()


def test_without_the_right_the_error_says_so_by_name() -> None:
    """Asking the generation is the first thing that fails without CAP_NET_ADMIN, and no retry heals that."""
    probe = "from netplumb.reconciler.kernel.nftables.table import Nftables; Nftables().generation()"
    words = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--", sys.executable, "-c", probe]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Terminal: nftables: EPERM" in done.stderr
