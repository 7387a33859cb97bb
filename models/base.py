"""What every model from outside shares: it is frozen and closed, and its text is printable."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from pydantic import BaseModel, ConfigDict

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def is_within(network: IPNetwork, around: IPNetwork) -> bool:
    """Whether all of its addresses are in the other, which may be of the other family."""
    return network.overlaps(around) and network.prefixlen >= around.prefixlen


class Model(BaseModel):
    """Frozen, closed (an unknown field is an error), and strict about nothing that a person writes in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quoted(str):
    """Digits that were written in quotes, where somebody may mean a name."""

    __slots__ = ()


def printable(value: str) -> str:
    """For validators: control characters would reach logs, terminals and the names of kernel objects."""
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value
