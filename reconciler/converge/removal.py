"""Removes links of attachments together, and what does not go with them.

The kernel takes some twenty milliseconds for one link and hardly more for many, so links that go at the same time go in
one message. Ownership is read from each link just before.

A link's guards are removed before the link: once the link is gone its name may be taken, by the same workload for
example, and the table's elements for the name are then those of the new link. So that nothing passes in between, links
are put into a departing group before their elements are removed; no packet is let from or to that group
(`render/departing`).
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, count

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.errors import NotANetworkNamespace, Retryable, StepError, errno_name
from netplumb.models.kernel import DEPARTING_GROUPS, Scope
from netplumb.models.naming import ifb_name, key_of_alias, node_if_name
from netplumb.models.nft import is_of_policies
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.ownership import is_our_link
from netplumb.reconciler.kernel.namespaces import NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks

_NAMES = (node_if_name, ifb_name)
_groups = count(secrets.randbelow(len(DEPARTING_GROUPS)))  # each removal its own, also of those side by side


@dataclass(frozen=True, slots=True)
class Doomed:
    """A link to remove: by the key in its alias, or an orphan by its index. Rules in the workload, which do not go with
    it, are removed for the record whose they are."""

    key: AttachmentKey
    hint_index: int = 0
    with_rules_of: Attachment | None = None


def remove_links(
    doomed: Sequence[Doomed],
    node: Channel,
    namespaces: Namespaces,
    nftables: Nftables,
    changed: Callable[[Iterable[Step]], None],
    going: Callable[[Mapping[int, AttachmentKey]], None],
) -> dict[AttachmentKey, StepError | None]:
    """Removes attachments' links together: put by index into a group that nobody else has, their elements taken, then
    that group deleted in one message. `going` is told the indexes of those that go so, just before. Returns what
    failed, by key; a link that is not there has been removed."""
    results: dict[AttachmentKey, StepError | None] = dict.fromkeys(thing.key for thing in doomed)
    for thing in doomed:
        if thing.with_rules_of is not None:
            _remove_rules(thing.with_rules_of, namespaces)

    def take_elements(keys: Iterable[AttachmentKey]) -> None:
        gone = nftables.remove_owned(map(node_if_name, keys))
        changed(Step(Verb.REMOVE, element) for element in gone if not is_of_policies(element.set))

    try:
        found = _indexes_of(doomed, node)
        group, open_still = 0, dict[int, AttachmentKey]()
        if len(found) > 1 or any(nftables.elements_of(node_if_name(key), ()) for key in results):
            group = DEPARTING_GROUPS[next(_groups) % len(DEPARTING_GROUPS)]
            open_still = _not_put_into(group, found, node)
        # Of others nothing is told before all of it is done.
        going({index: key for index, key in found.items() if key not in open_still.values()})
        take_elements(key for key in results if key not in open_still.values())
        if group and not open_still and _remove_group(group, node):
            return results
        for index, key in found.items():
            (reply,) = node.transact(encodelinks.delete_link(index))
            if reply.errno not in (0, errno.ENODEV):
                results[key] = Retryable(
                    f"- link {node_if_name(key)}: {errno_name(reply.errno)} {reply.words}".rstrip(),
                    subject=f"link {node_if_name(key)}",
                    code=reply.errno,
                    reason="RemovalFailed",
                )
        take_elements({key for key in open_still.values() if results[key] is None})
    except StepError as error:
        return {thing.key: error for thing in doomed}
    return results


def _remove_rules(record: Attachment, namespaces: Namespaces) -> None:
    """Of a namespace that lives on. What is not removed, since it cannot be reached, leads nowhere."""
    sources = {address.packed for address in record.addresses}
    unreachable = suppress(StepError, NamespaceMissingError, NotANetworkNamespace)
    with unreachable, namespaces.open(record.spec.netns.where) as namespace:
        if namespace.cookie == record.netns_cookie:
            rules = [it for it in dumps.rules(namespace.channel, Scope.WORKLOAD) if it.src in sources]
            namespace.channel.transact([request for it in rules for request in encode.delete_rule(it)])


def _indexes_of(doomed: Sequence[Doomed], node: Channel) -> dict[int, AttachmentKey]:
    """The indexes of our links with these keys, ifbs too, read just before they are removed."""
    asked = [(thing.key, encodelinks.get_link_by_name(name(thing.key))) for name in _NAMES for thing in doomed]
    asked += [(thing.key, encodelinks.get_link_by_index(thing.hint_index)) for thing in doomed if thing.hint_index]
    found: dict[int, AttachmentKey] = {}
    for (key, _), reply in zip(asked, node.transact([request for _, request in asked]), strict=True):
        if reply.errno not in (0, errno.ENODEV):
            words = f"cannot read the link of {key}: {errno_name(reply.errno)} {reply.words}".rstrip()
            raise Retryable(words, code=reply.errno, reason="RemovalFailed")
        if reply.parts:
            link, _ = decode.link(Scope.NODE, reply.parts[0][1])
            # An alias that names nobody was damaged; the other two marks tell that the link is ours.
            if is_our_link(link) and key_of_alias(link.alias or "") in (None, key):
                found[link.index] = key
    return found


def _not_put_into(group: int, links: Mapping[int, AttachmentKey], node: Channel) -> dict[int, AttachmentKey]:
    """Which of them the kernel did not put there."""
    replies = node.transact([encodelinks.set_group(index, group) for index in links])
    refused = [reply.errno not in (0, errno.ENODEV) for reply in replies]
    return dict(compress(links.items(), refused))


def _remove_group(group: int, node: Channel) -> bool:
    """Whether all went. The group has no foreign members, so no dump of all links is needed to make sure."""
    (reply,) = node.transact([encodelinks.delete_group(group)])
    return reply.errno in (0, errno.ENODEV)
