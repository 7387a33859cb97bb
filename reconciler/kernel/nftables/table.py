"""Our one nftables table, `inet netplumb`: read whole when somebody else changed it, written in one transaction.

The kernel numbers the generations of the ruleset. Asking for the number costs microseconds, listing the table as much
as the whole ruleset of the host makes it cost. So what was read is kept as a view, which is carried on over our own
transactions and over those that are known to have left our table alone; any other number means reading it again.

Where the kernel has it (Linux 6.9) the table is made ours alone: others can neither flush nor change it, and when the
daemon dies it stays, nobody's, until the next one takes it. It belongs to one socket, so that its flags are set on the
one that libnftables writes by.

One instance serves all threads: they share the view.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog

from netplumb.models.errors import Outdated, Retryable, StepError
from netplumb.models.kernel import KernelObject, Key
from netplumb.models.networkpolicy import Direction
from netplumb.models.nft import POLICY_DENIED, NftChain, NftElement, NftSet, is_ours
from netplumb.models.policyviews import Denied
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.kernel.netlink.wire import text
from netplumb.reconciler.kernel.nftables import batch, elements, jsonobjects
from netplumb.reconciler.kernel.nftables.elements import ELEMENTS_MAX
from netplumb.reconciler.kernel.nftables.events import Commit
from netplumb.reconciler.kernel.nftables.hooks import NatHooks
from netplumb.reconciler.kernel.nftables.jsonobjects import TABLE
from netplumb.reconciler.kernel.nftables.libnftables import Libnftables, failure
from netplumb.reconciler.kernel.nftables.questions import Questions

AT_ONCE_MOST, TURN_S = 4 * ELEMENTS_MAX, 0.0005
_READS = 5
_OURS_ALONE = batch.OWNER | batch.PERSIST

log = structlog.get_logger(__name__)


class Nftables:
    """Made in the node's namespace. Every method may be called from any thread, and raises StepError when the kernel
    refuses, for example without CAP_NET_ADMIN."""

    def __init__(self, *, own: bool = False) -> None:
        """`own` makes the table ours alone when it is made."""
        self._own = own
        self._lock = threading.RLock()
        self._nft = Libnftables()
        self.hooks = NatHooks()
        self._questions = Questions()
        self._read_at: int | None = None
        self._written: set[int] = set()
        """The generations of our own transactions, until they are heard of."""
        self._spoilt = False
        self._tells_denied: bool | None = None
        self._declared: dict[Key, NftSet | NftChain] = {}
        self._elements: dict[Key, NftElement] = {}
        self._owned: defaultdict[str, dict[Key, NftElement]] = defaultdict(dict)
        self.readings = 0
        """How often the table was read: what was compared before still holds while this number does."""
        self.transactions = 0
        """How many were carried out."""

    def close(self) -> None:
        self.hooks.close()
        self._nft.close()
        self._questions.close()

    # Reading.

    def observe(self) -> Collection[KernelObject]:
        """The table's sets and chains; none when the table is missing.

        None either when it holds what we never make, such as a flag or a set of another kind: the next `apply` then
        makes the table anew.
        """
        with self._lock:
            self._refresh()
            return tuple(self._declared.values())

    def elements(self) -> Mapping[Key, NftElement]:
        """Every element of the table."""
        with self._lock:
            self._refresh()
            return dict(self._elements)

    def elements_of(self, owner: str, wanted: Iterable[Key]) -> list[NftElement]:
        """The elements that carry this owner, and what stands under the wanted keys, whoever's it is."""
        keys = list(wanted)
        with self._lock:
            if not keys and not self._owned.get(owner):
                return []  # what others put into our table is found when the node is compared
            self._refresh()
            found = dict(self._owned.get(owner, {}))
            found.update((key, there) for key in keys if (there := self._elements.get(key)) is not None)
            return list(found.values())

    def element(self, key: Key) -> NftElement | None:
        """An element as the table was last known to be."""
        return self._elements.get(key)

    def told(self, commits: Iterable[Commit]) -> bool:
        """Takes note of commits to the ruleset that were heard of, in their order; returns whether the view holds and
        nobody else wrote to our table. Where somebody did, the view may have been read again since, for an attachment,
        without a look at what that does to the rest."""
        with self._lock:
            foreign, heard = False, -1
            for commit in commits:
                if commit.ours:
                    foreign |= commit.generation not in self._written
                elif self._read_at is not None and commit.generation == self._read_at + 1:
                    self._read_at = commit.generation
                heard = commit.generation
            self._written = {generation for generation in self._written if generation > heard}
            try:
                return not foreign and self.generation() == self._read_at
            except StepError:
                return False  # whoever looks next asks again, and says what is wrong

    def generation(self) -> int:
        """The kernel's number of the ruleset as it is now."""
        with self._lock:
            return self._questions.generation()

    def _refresh(self) -> None:
        for _ in range(_READS):
            before = self.generation()
            if before == self._read_at:
                return
            listed = self._read()
            if self.generation() == before:  # else somebody wrote while it was read, and it may be of two halves
                self._keep(listed or ())
                self._spoilt, self._read_at = listed is None, before
                self.readings += 1
                return
        raise Retryable("the nftables ruleset changes faster than it can be read", reason="NftablesBusy")

    def _keep(self, listed: Iterable[KernelObject]) -> None:
        self._declared, self._elements, self._owned = {}, {}, defaultdict(dict)
        for thing in listed:
            self._note(thing)

    def _note(self, thing: KernelObject) -> None:
        if isinstance(thing, NftElement):
            if (before := self._elements.get(thing.key)) is not None:
                self._owned[before.owner].pop(before.key, None)
            self._elements[thing.key] = self._owned[thing.owner][thing.key] = thing
        elif isinstance(thing, NftSet | NftChain):
            self._declared[thing.key] = thing

    def _forget(self, thing: KernelObject) -> None:
        self._declared.pop(thing.key, None)
        if isinstance(thing, NftSet):
            for inside in [it for it in self._elements.values() if it.set == thing.name]:
                self._forget(inside)
        if (element := self._elements.pop(thing.key, None)) is not None:
            owned = self._owned[element.owner]
            owned.pop(element.key, None)
            if not owned:
                del self._owned[element.owner]

    def _read(self) -> Collection[KernelObject] | None:
        """The table's content, None where it holds what we never make.

        Flags are asked for apart: a dormant table lists as usual yet does nothing, and libnftables 1.0.6 prints the
        JSON of a table with one flag from memory that is not its own.
        """
        flags = self._flags()
        if flags == batch.PERSIST:  # alone it is printed from that memory too
            self._take()
            flags = self._flags()
        if flags not in (None, 0, _OURS_ALONE):
            return None
        try:
            listed = self._nft.run([jsonobjects.LIST]) if flags is not None else []
        except StepError as error:
            if error.code == errno.ENOENT:
                return ()
            raise
        try:
            things = tuple(jsonobjects.objects(listed))
        except jsonobjects.UnknownObjectError:
            return None
        return things if all(is_ours(thing) for thing in things if isinstance(thing, NftSet)) else None

    def _flags(self) -> int | None:
        return self._questions.flags(TABLE)

    def denied(self, links: Sequence[str]) -> Mapping[str, Denied]:
        """What policies denied of these links' workloads, where they isolate them."""
        with self._lock:
            counts = {direction: self._questions.counts(it.name, links) for direction, it in POLICY_DENIED.items()}
        sides = zip(counts[Direction.INGRESS], counts[Direction.EGRESS], strict=True)
        return {link: Denied(*each) for link, each in zip(links, sides, strict=True) if each != (None, None)}

    def tells_denied(self) -> bool:
        """Whether the kernel can tell what a rule denies. Asked where there are policies, and only there imported."""
        if self._tells_denied is None:
            from netplumb.reconciler.kernel.nftables import nflog

            self._tells_denied = nflog.is_there()
        return self._tells_denied

    # Writing.

    def apply(self, steps: Sequence[Step], is_wished: Callable[[], bool] = lambda: True) -> None:
        """Carries out steps in one transaction, all or nothing.

        A port of the node may be handed over, from one attachment to another, while a pass for the first one is under
        way in another thread. So it is asked here, where nobody else writes, whether what the steps come from
        `is_wished` still, and Outdated raised where it is not; and an element that has become another's since it was
        read stays.

        A spoilt table goes in the same transaction. Since it was observed as empty, the steps bring all that is wanted.
        The kernel would refuse new chains in the transaction that wakes a dormant table, and to delete a chain that a
        map names.
        """
        with self._lock:
            if self._own:
                self._make_ours()
            if not is_wished():
                raise Outdated("another wish came meanwhile")
            before = self.generation()
            if before == self._read_at and not (steps := [step for step in steps if self._is_as_read(step)]):
                return
            self._write(steps)
            self._spoilt = False
            self.transactions += 1
            # Ours is one generation, and none if it changed nothing; any more, and somebody else wrote too.
            if before == self._read_at and (after := self.generation()) - before in (0, 1):
                self._read_at = after
                self._written.add(after)
            else:
                self._read_at = None
            # Also what is to be read anew: until then it tells whose elements there are, and where ports lead.
            for step in steps:
                (self._forget if step.verb is Verb.REMOVE else self._note)(step.thing)

    def apply_in_turns(self, steps: Sequence[Step], is_wished: Callable[[], bool] = lambda: True) -> None:
        """Carries out what is one attachment's: in one transaction, but for very many elements. Of these a few at a
        time are one, and others who write to the table have their turns in between."""
        if len(steps) <= AT_ONCE_MOST or not all(isinstance(step.thing, NftElement) for step in steps):
            self.apply(steps, is_wished)
            return
        for portion in elements.portions(steps):
            self.apply(portion, is_wished)
            time.sleep(TURN_S)  # whoever waits for the lock has it then

    def _is_as_read(self, step: Step) -> bool:
        """Less what is to go and is another's by now, or has gone."""
        going = step.verb is Verb.REMOVE and isinstance(step.thing, NftElement)
        return not going or self._elements.get(step.thing.key) == step.thing

    def _write(self, steps: Sequence[Step]) -> None:
        if self._nft.channel is None or self._spoilt or (messages := elements.messages(steps)) is None:
            owned = self._flags() == _OURS_ALONE
            self._nft.run(list(jsonobjects.commands(steps, anew=self._spoilt and not owned, owned=owned)))
        elif code := batch.commit(self._nft.channel, *messages):
            sets = ", ".join(sorted({step.thing.set for step in steps if isinstance(step.thing, NftElement)}))
            raise failure(code, f"the elements of {sets} are refused")

    def _make_ours(self) -> None:
        """Makes the table where it is missing, or spoilt. One that another version made is left as it is: it could only
        be deleted, and what runs would be without it for a moment."""
        if self._spoilt or self._flags() is None:
            self._take()

    def _take(self) -> None:
        """Makes the table ours alone: anew if it is missing or spoilt, or as a daemon left it."""
        if self._nft.channel is None:
            return
        made = [(batch.NEW_TABLE, batch.table_body(TABLE, _OURS_ALONE))]
        if self._spoilt and self._flags() is not None:
            made.insert(0, (batch.DELETE_TABLE, text(batch.TABLE_NAME, TABLE)))
        before = self.generation()
        code = batch.commit(self._nft.channel, *made)
        if code in batch.REFUSED:
            self._own = False
            log.info("the kernel lets nobody own a table that outlives its owner; others can change ours")
        elif code:
            raise failure(code, "cannot make the table ours alone")
        elif before == self._read_at and (after := self.generation()) == before + 1:
            self._read_at = after
            self._written.add(after)

    def remove_owned(self, owners: Iterable[str]) -> list[NftElement]:
        """Removes the elements of these owners, in one transaction unless they are very many, and returns them. An
        owner may be named twice, as one with two links is."""
        with self._lock:
            gone = [element for owner in dict.fromkeys(owners) for element in self.elements_of(owner, ())]
        if gone:
            self.apply_in_turns([Step(Verb.REMOVE, element) for element in gone])
        return gone

    def delete_table(self) -> None:
        """Removes the table and all in it; a missing one is fine."""
        with self._lock:
            if self._flags() == _OURS_ALONE and self._nft.channel is not None:
                code = batch.commit(self._nft.channel, (batch.DELETE_TABLE, text(batch.TABLE_NAME, TABLE)))
                if code:
                    raise failure(code, "cannot delete the table")
            else:
                self._nft.run(list(jsonobjects.DELETE_TABLE))
            self._read_at = None


def split_table_steps(steps: Iterable[Step]) -> tuple[list[Step], list[Step]]:
    """The steps that are about our table, and the others; each in their order."""
    table: list[Step] = []
    rest: list[Step] = []
    for step in steps:
        (table if isinstance(step.thing, NftSet | NftChain | NftElement) else rest).append(step)
    return table, rest
