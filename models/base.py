"""What every model from outside shares: it is frozen and closed, and its text is printable."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, WrapValidator

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def _read_once(value: object, otherwise: ValidatorFunctionWrapHandler) -> object:
    return value if isinstance(value, IPAddress) else otherwise(value)


GivenAddress = Annotated[IPAddress, WrapValidator(_read_once)]
"""For the fields of models: an address is taken as it is, and not written and read as one of each family in turn."""


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
