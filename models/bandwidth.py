"""How much a workload may receive and send.

Rates are bits per second and bursts are bits, seen from the workload: ingress is what it receives. In files and on the
command line both may be written with a decimal suffix: `100M`, `1.5G`, `800k`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from netplumb.models import written
from netplumb.models.base import Model

RATE_MIN = 8_000
"""bit/s. Slower than a kilobyte a second, one full packet would take longer than TCP waits for it."""

RATE_MAX = (1 << 63) - 1
BURST_MAX_S = 0.1
"""A burst passes unshaped. One of more than this at the rate would make the limit a promise that is not kept."""

ETHERNET_HEADER_BYTES = 14
"""What a packet counts beyond its MTU where it is shaped."""

BURST_PACKETS = 2
"""A bucket that holds one packet loses what comes in between the moment it is full and the moment that the kernel's
timer takes the packet out: a slow rate is then never reached."""

_TEXT = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s*([kKMGT]?)(?:bit)?\Z", re.ASCII)
_FACTORS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _of_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (found := _TEXT.match(value)):
        raise ValueError(f"{value[:50]!r} is not a number of bits such as 100M, 1.5G or 800000")
    return int(Decimal(found[1]) * _FACTORS[found[2]])


Bits = Annotated[int, BeforeValidator(_of_text), Field(ge=0), WithJsonSchema(written.bits())]
Rate = Annotated[Bits, WithJsonSchema(written.bits(RATE_MIN, RATE_MAX))]


class Bandwidth(Model):
    """A rate of 0 means no limit, a burst of 0 as large a one as may be."""

    model_config = ConfigDict(json_schema_extra=written.BURSTS_WITH_RATES)

    ingress_rate: Rate = Field(default=0, description="Bits per second that the workload receives at most")
    ingress_burst: Bits = Field(default=0, description="Bits that it receives unshaped at most")
    egress_rate: Rate = Field(default=0, description="Bits per second that the workload sends at most")
    egress_burst: Bits = Field(default=0, description="Bits that it sends unshaped at most")

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        for name, rate, burst in (
            ("ingress", self.ingress_rate, self.ingress_burst),
            ("egress", self.egress_rate, self.egress_burst),
        ):
            if rate and not RATE_MIN <= rate <= RATE_MAX:
                raise ValueError(f"{name}_rate: {rate} is not within {RATE_MIN} and {RATE_MAX} bits per second")
            if burst and not rate:
                raise ValueError(f"{name}_burst: is given without {name}_rate")
        return self

    def capped(self, mtu: int) -> Bandwidth:
        """The limits as they are enforced: bursts of at most 100 ms of the rate, and of two packets at least."""
        if not (self.ingress_rate or self.egress_rate):
            return NO_LIMITS
        return Bandwidth.model_construct(
            ingress_rate=self.ingress_rate,
            ingress_burst=_capped(self.ingress_rate, self.ingress_burst, mtu),
            egress_rate=self.egress_rate,
            egress_burst=_capped(self.egress_rate, self.egress_burst, mtu),
        )


NO_LIMITS = Bandwidth()


def packet_bytes(mtu: int) -> int:
    """What the largest packet counts where it is shaped."""
    return mtu + ETHERNET_HEADER_BYTES


def _capped(rate: int, burst: int, mtu: int) -> int:
    if not rate:
        return 0
    least = BURST_PACKETS * packet_bytes(mtu) * 8
    return max(least, min(burst or rate, int(rate * BURST_MAX_S)))
