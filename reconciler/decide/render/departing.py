"""PURE: what a workload is kept from while its link goes.

The guards know links of workloads by our group, and policies by their names in sets. Both end before the link does: to
remove several links at once they are put into a group of their own, and what follows a link's name is taken out of its
sets while the name is still its own. So whatever comes from a link that is in such a group, or goes to it, ends here.

This stands behind the guards and the policies: a packet that did not find the link in a set any more comes by later
than the link was put into its group, however long it was on its way.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.network import Node
from netplumb.models.nft import NftChain, canonical_rule
from netplumb.reconciler.decide.render.expressions import (
    COUNTER,
    DROP,
    FROM_DEPARTING,
    PRIORITY_DEPARTING,
    TO_DEPARTING,
)

_FROM = canonical_rule([FROM_DEPARTING, COUNTER, DROP], "from a link that goes")
_TO = canonical_rule([TO_DEPARTING, COUNTER, DROP], "to a link that goes")


def render_departing(_: Node) -> Iterator[NftChain]:
    for hook, rules in (("forward", (_FROM, _TO)), ("input", (_FROM,))):
        yield NftChain(f"departing_{hook}", "filter", hook, PRIORITY_DEPARTING, "accept", rules)
