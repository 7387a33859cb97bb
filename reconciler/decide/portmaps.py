"""PURE: what the elements of the port maps mean: which port of the node leads where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from netplumb.models.kernel import Key
from netplumb.models.nft import PORT_SETS, NftElement, port_sets
from netplumb.models.ports import End, Port

_ADDRESS_MAPS = {addresses.name: version for version, (addresses, _) in PORT_SETS}


def ports_of(elements: Iterable[NftElement]) -> set[Port]:
    """The ports of the node that the elements are about: IP version, protocol number, port."""
    return {
        (version, int(element.match[-2]), int(element.match[-1]))
        for element in elements
        if (version := _ADDRESS_MAPS.get(element.set)) is not None
    }


def targets_of(elements: Iterable[NftElement]) -> set[bytes]:
    """The addresses that the elements lead ports to."""
    return {ip_address(str(element.value)).packed for element in elements if element.set in _ADDRESS_MAPS}


def target_of(port: Port, at: bytes, element: Callable[[Key], NftElement | None]) -> End | None:
    """Where a port leads at one of the node's addresses: what is mapped there goes before what is mapped everywhere."""
    version, protocol, number = port
    for at_one, match in ((True, (str(ip_address(at)), protocol, number)), (False, (protocol, number))):
        addresses, ports = port_sets(version, at_one_address=at_one)
        address = element((NftElement, addresses.name, match))
        to_port = element((NftElement, ports.name, match))
        if address is not None and to_port is not None:
            return ip_address(str(address.value)).packed, int(to_port.value or 0)
    return None
