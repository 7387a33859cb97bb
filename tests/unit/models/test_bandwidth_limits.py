"""How limits are written, and how far a burst may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netplumb.models.bandwidth import RATE_MAX, RATE_MIN, Bandwidth
from netplumb.models.tc import burst_ticks


@pytest.mark.parametrize(
    ("text", "bits"),
    [("100M", 10**8), ("1.5G", 15 * 10**8), ("800k", 800_000), ("800K", 800_000), ("9000", 9000), ("1 Mbit", 10**6)],
)
def test_rates_may_have_a_suffix(text: str, bits: int) -> None:
    assert Bandwidth.model_validate({"ingress_rate": text}).ingress_rate == bits


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"ingress_rate": "fast"}, "is not a number of bits"),
        ({"ingress_rate": "-1"}, "is not a number of bits"),
        ({"egress_rate": RATE_MIN - 1}, "egress_rate"),
        ({"egress_rate": RATE_MAX + 1}, "egress_rate"),
        ({"ingress_burst": 1000}, "is given without ingress_rate"),
    ],
)
def test_what_is_wrong_is_said(wish: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Bandwidth.model_validate(wish)


@given(
    rate=st.integers(RATE_MIN, 10**12),
    burst=st.integers(0, 1 << 40),
    mtu=st.integers(1280, 65535),
)
def test_a_burst_is_two_packets_at_least_and_100_ms_at_most(rate: int, burst: int, mtu: int) -> None:
    """Within these bounds it is as it was wished; without a wish it is the most that may be."""
    capped = Bandwidth(egress_rate=rate, egress_burst=burst).capped(mtu)
    assert capped.egress_rate == rate
    least = 2 * (mtu + 14) * 8
    assert least <= capped.egress_burst <= max(least, rate // 10)
    if burst and least <= burst <= rate // 10:
        assert capped.egress_burst == burst
    assert (capped.ingress_rate, capped.ingress_burst) == (0, 0)


def test_containerds_burst_is_capped() -> None:
    """It sends 4294967295 bits, half a gigabyte."""
    assert Bandwidth(ingress_rate=10**9, ingress_burst=4294967295).capped(1500).ingress_burst == 10**8


@given(rate=st.integers(1000, 10**11), burst=st.integers(1294, 1 << 30))
def test_ticks_are_the_time_that_the_burst_takes(rate: int, burst: int) -> None:
    """64 ns each, rounded down as the kernel rounds: never more, and hardly less."""
    exact = burst * 1_000_000_000 / rate / 64
    assert exact * (1 - 2**-30) - 2 <= burst_ticks(burst, rate) <= exact
