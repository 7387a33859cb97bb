"""Takes all that is netplumb's off a node: links, loopback addresses, rules, ways to other nodes, the nftables table,
namespaces that it made, the store, what happened and what was known of a cluster. What is ours is read from the
kernel's own marks, so that it works without a store too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.cluster import KEPT_FILES
from netplumb.models.errors import StepError
from netplumb.models.kernel import Address, FdbEntry, Link, Rule, Scope, Sysctl
from netplumb.models.naming import key_of_alias
from netplumb.models.network import Node
from netplumb.models.nft import NftChain, NftSet
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.marks import begin_anew
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.converge.ways import Seen, WaysKernel
from netplumb.reconciler.decide.ownership import is_ours
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render.forwarding import ours
from netplumb.reconciler.desired.store import Contents, Store, boot_id
from netplumb.reconciler.history import eventfile
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.nodelock import NodeLock
from netplumb.reconciler.watch.nodenetwork import look


class Purge:
    """Holds the locks of the node and of the data directory, so that no daemon runs. Raises NodeInUseError or
    StoreUnusableError when one does.

    Where there is no store one is begun as the daemon does it, since an empty one would have the next daemon remove
    everything, also when the purge is not carried out."""

    def __init__(self, data_dir: Path) -> None:
        self._lock = NodeLock()
        self._data_dir = data_dir
        self._nftables = Nftables()
        self._kernel = LinuxKernel(self._nftables)
        self._ways = WaysKernel()
        self._store = Store(
            data_dir,
            f"{boot_id()}/{self._kernel.node_cookie}",
            lambda: begin_anew((), look(()).uplink_mtu or Node().mtu, (), self._nftables.elements().values()),
        )
        self._contents: Contents = self._store.load()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._ways.close()
        self._kernel.close()
        self._nftables.close()
        self._lock.close()

    def plan(self) -> list[str]:
        """What would go, and which switches would get back the value that they had before netplumb, in words."""
        namespaces = [f"- netns {attachment.spec.netns.name}" for attachment in self._with_made_namespaces()]
        ways = [step for step in self._ways_steps(self._ways.read_all()) if not isinstance(step.thing, FdbEntry)]
        return [str(step) for step in (*self._steps(), *ways)] + namespaces

    def _ways_steps(self, seen: Seen) -> Sequence[Step]:
        """Those to other nodes, none of which is wanted."""
        return plan((), seen.objects).steps

    def _with_made_namespaces(self) -> list[Attachment]:
        return [attachment for attachment in self._contents.attachments.values() if attachment.netns_created]

    def _steps(self) -> list[Step]:
        steps = [Step(Verb.REMOVE, link) for link, _ in self._kernel.snapshot().ours]
        switches = [Sysctl(Scope.NODE, name, value) for name, value in self._contents.sysctls.items()]
        observed = self._kernel.observe_node(switches)
        steps += (
            Step(Verb.REMOVE, thing)
            for thing in observed.values()
            if isinstance(thing, Address | Rule | NftSet | NftChain) and is_ours(thing)
        )
        steps += (
            Step(Verb.CHANGE, switch, there)
            for switch in switches
            if isinstance(there := observed.get(switch.key), Sysctl) and self._is_as_we_set_it(there)
        )
        return steps

    def _is_as_we_set_it(self, there: Sysctl) -> bool:
        """What others have set since is theirs, and so is all of an interface that has come to the name since."""
        recorded = self._contents.interfaces.get(there.name, there.interface)
        return there.value == ours(there.name) and there.interface == recorded

    def _doomed(self, link: Link) -> Doomed:
        key = key_of_alias(link.alias or "") or AttachmentKey(link.name, "")
        record = self._contents.attachments.get(key)
        return Doomed(key, link.index, record if record is not None and record.has_own_way else None)

    def apply(self) -> None:
        """Carries the plan out. Raises the first StepError; what was done by then stays done, and may be repeated."""
        steps = self._steps()
        doomed = [self._doomed(step.thing) for step in steps if isinstance(step.thing, Link)]
        errors: list[StepError] = [e for e in self._kernel.remove_links(doomed).values() if e is not None]
        for attachment in self._with_made_namespaces():
            self._kernel.remove_namespace(attachment.spec.netns.name, attachment.netns_cookie)
        self._kernel.delete_table()
        # Routes to other nodes have an address of the node's as their source: they go before it does.
        seen = self._ways.read_all()
        errors += self._ways.apply(self._ways_steps(seen), seen)
        errors += self._kernel.apply_node([s for s in steps if isinstance(s.thing, Address | Rule | Sysctl)])
        self._store.erase()
        eventfile.remove(self._data_dir)
        for name in KEPT_FILES:
            (self._data_dir / name).unlink(missing_ok=True)
        if errors:
            raise errors[0]
