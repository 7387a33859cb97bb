"""Blocks of addresses as the fewest ranges."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.networkpolicy import IPBlock
from netplumb.reconciler.decide.policies import ranges

networks = st.builds(
    lambda last, length: ip_network((f"10.0.0.{last}", length), strict=False), st.integers(0, 255), st.integers(25, 32)
)


@given(st.lists(st.tuples(networks, st.lists(networks, max_size=3)), max_size=3))
def test_an_address_is_in_them_if_a_block_has_it_and_does_not_except_it(
    drawn: list[tuple[object, list[object]]],
) -> None:
    """Whatever overlaps; and no two of them meet."""
    blocks = [
        IPBlock.model_validate(
            {
                "cidr": str(network),
                "except": [str(it) for it in excepted if it != network and it.subnet_of(network)],  # type: ignore[attr-defined]
            }
        )
        for network, excepted in drawn
    ]
    found = ranges.addresses(blocks, 4)
    for last in range(256):
        address = ip_address(f"10.0.0.{last}")
        meant = any(address in it.cidr and not any(address in less for less in it.except_) for it in blocks)
        assert any(first <= int(address) <= end for first, end in found) == meant
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))


def test_they_are_worded_as_the_kernel_lists_them() -> None:
    """A network as a prefix, one address as itself, anything else as a range; one alone is no set."""
    first = int(IPv4Address("10.0.0.0"))
    assert ranges.address_words([(first, first + 255)], 4) == {"prefix": {"addr": "10.0.0.0", "len": 24}}
    assert ranges.address_words([(first, first), (first + 2, first + 4)], 4) == {
        "set": ["10.0.0.0", {"range": ["10.0.0.2", "10.0.0.4"]}]
    }
    assert ranges.port_words([(80, 80)]) == 80
