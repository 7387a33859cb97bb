"""The table `inet netplumb` in the real kernel: what is rendered lists back identically, and drift is seen and healed.

`nft`, the command, plays everybody else on the host.
"""

from __future__ import annotations

import ctypes
import errno
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from models.errors import Retryable, Terminal
from models.kernel import NftChain, Step, Verb
from models.network import Node
from models.nft import canonical_rule
from reconciler.kernel.libnftables import Libnftables
from reconciler.kernel.nftables import Nftables
from reconciler.kernel.nftevents import NftListener
from reconciler.plan import plan
from reconciler.render.nft import render_nft
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


def wanted(*, masquerade: bool = True) -> tuple[NftChain, ...]:
    return tuple(render_nft(Node(masquerade=masquerade)))


@pytest.fixture
def nftables(node: NodeNamespace) -> Iterator[Nftables]:
    with closing(Nftables()) as nftables:
        yield nftables


def bring(nftables: Nftables, chains: Sequence[NftChain]) -> None:
    """One pass for the table, as the loop makes it."""
    nftables.apply(plan(chains, {chain.key: chain for chain in nftables.observe()}).steps)


def held(nftables: Nftables) -> set[NftChain]:
    return set(nftables.observe())


def test_without_the_table_there_are_no_chains(nftables: Nftables) -> None:
    """A missing table is an empty one, not an error."""
    assert nftables.observe() == ()


@pytest.mark.parametrize("masquerade", [True, False])
def test_what_is_rendered_lists_back_identically(nftables: Nftables, masquerade: bool) -> None:
    """The canonical form is the kernel's own, so a converged table has no difference."""
    bring(nftables, wanted(masquerade=masquerade))
    assert nftables.observe() == wanted(masquerade=masquerade)


def test_masquerading_is_switched_off_and_on_again(nftables: Nftables) -> None:
    """Either way only the rules change."""
    for masquerade in (True, False, True):
        bring(nftables, wanted(masquerade=masquerade))
        assert nftables.observe() == wanted(masquerade=masquerade)


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
    "set added": "table inet netplumb { set s { type ipv4_addr; }; }",
    "chains added": "table inet netplumb { chain b { }; chain a { jump b; }; chain c { jump a; jump b; }; }",
}


@pytest.mark.parametrize("script", DRIFTS.values(), ids=DRIFTS)
def test_drift_is_seen_and_healed(nftables: Nftables, script: str) -> None:
    """Whatever others do to the table is seen at the next reading, and one transaction makes it whole."""
    bring(nftables, wanted())
    assert nftables.observe() == wanted()
    nft(script)
    assert nftables.observe() != wanted()
    bring(nftables, wanted())
    assert nftables.observe() == wanted()


def test_what_rules_counted_is_not_drift(nftables: Nftables) -> None:
    """Traffic alone changes nothing of what is observed."""
    bring(nftables, wanted())
    nft(
        "flush chain inet netplumb postrouting; add rule inet netplumb postrouting iifgroup 28272 oifgroup != 28272"
        ' counter packets 5 bytes 400 masquerade comment "workloads to outside"'
    )
    assert nftables.observe() == wanted()


def test_foreign_tables_are_left_alone(nftables: Nftables) -> None:
    """Neither convergence nor purging touches a table that is not ours."""
    nft("table inet theirs { chain c { counter drop; }; }; table ip netplumb { chain c { accept; }; }")
    before = nft("list ruleset")
    bring(nftables, wanted())
    assert nftables.observe() == wanted()
    nftables.delete_table()
    assert nft("list ruleset") == before


def test_purging_twice_is_fine(nftables: Nftables) -> None:
    """What is gone already has been removed."""
    bring(nftables, wanted())
    for _ in range(2):
        nftables.delete_table()
        assert nftables.observe() == ()


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
    nftables.apply([Step(Verb.CHANGE, wanted()[0], wanted(masquerade=False)[0])])
    assert nftables.observe() == wanted()


def test_a_transaction_is_all_or_nothing(nftables: Nftables) -> None:
    """One step that the kernel refuses leaves everything as it was, and is told with its errno."""
    bring(nftables, wanted())
    generation = nftables.generation()
    good = Step(Verb.CHANGE, wanted(masquerade=False)[0], wanted()[0])
    bad = Step(Verb.ADD, NftChain("caller", rules=(jump("nowhere"),)))
    with pytest.raises(Retryable, match="ENOENT") as refused:
        nftables.apply([good, bad])
    assert refused.value.code == errno.ENOENT
    assert nftables.generation() == generation
    assert nftables.observe() == wanted()


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
        for expected, script in ((1, ""), (2, "add table inet theirs"), (3, "flush chain inet netplumb postrouting")):
            nft(script)
            assert nftables.observe() is nftables.observe()
            assert counted.runs == expected
        monkeypatch.undo()
    assert nftables.observe() == wanted(masquerade=False)


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
        assert nftables.observe() == wanted(masquerade=False)
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
        assert nftables.observe() == wanted()
        with closing(Nftables()) as theirs:
            assert theirs.observe() == ()


def test_thousands_of_foreign_chains_do_no_harm(nftables: Nftables) -> None:
    """Beside a large ruleset the table is read and healed as ever."""
    add_foreign_chains()
    bring(nftables, wanted())
    assert nftables.observe() == wanted()
    nft("flush chain inet netplumb postrouting")
    bring(nftables, wanted())
    assert nftables.observe() == wanted()


def test_a_changed_ruleset_is_heard_once(nftables: Nftables) -> None:
    """The listener's descriptor is readable after a change, and draining it leaves nothing behind."""
    with closing(NftListener()) as listener:
        assert not listener.drain()
        nft("add table inet theirs; flush ruleset")
        assert select.select([listener], [], [], 5)[0]
        assert listener.drain()
        assert not listener.drain()


def test_lost_messages_are_heard_as_a_change(nftables: Nftables) -> None:
    """More changes than the socket's buffer holds still come through as one, and do not raise."""
    with closing(NftListener()) as listener:
        add_foreign_chains()
        assert listener.drain()
        assert not listener.drain()


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
    probe = "from reconciler.kernel.nftables import Nftables; Nftables().generation()"
    words = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--", sys.executable, "-c", probe]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Terminal: nftables: EPERM" in done.stderr
