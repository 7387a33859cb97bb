"""What a history is made of, as hypothesis draws it."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.chaos.peers import PEERS
from tests.chaos.policies import POLICIES
from tests.chaos.wishes import (
    ALTERNATE,
    DECLARED,
    INTERFACES,
    LIMITS,
    PORTS,
    STATICS,
    WORKLOADS,
    Declared,
    Wish,
)

netns_names = st.sampled_from((*WORKLOADS[2:], *(name + ALTERNATE for name in WORKLOADS[:2])))
keys = st.tuples(st.sampled_from(WORKLOADS), st.sampled_from(INTERFACES))


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    workload_id, if_name = draw(keys)
    moves = workload_id in WORKLOADS[:2] and draw(st.booleans())
    return Wish(
        workload_id,
        if_name,
        workload_id + ALTERNATE if moves else workload_id,
        tuple(draw(st.lists(st.sampled_from(STATICS), max_size=1))),
        draw(st.sampled_from((0, 0, 1400))),
        draw(st.sampled_from(("", "one", "two"))),
        tuple(draw(st.lists(st.sampled_from(PORTS), max_size=2, unique=True))),
        draw(st.sampled_from(LIMITS)),
        draw(st.booleans()),
    )


declarations = st.lists(
    st.builds(Declared, st.sampled_from((*WORKLOADS, *DECLARED)), st.sampled_from(("", "", *STATICS))),
    min_size=1,
    max_size=3,
    unique_by=lambda declared: declared.key,
)
policies = st.frozensets(st.sampled_from(POLICIES))
peers = st.frozensets(st.sampled_from(PEERS))
BURST = ("attach", "attach", "detach", "damage", "node", "declare", "undeclare", "police", "meet", "remake", "read")
bursts = st.lists(
    st.tuples(st.sampled_from(BURST), wishes(), declarations, st.integers(0, 199)), min_size=2, max_size=8
)
