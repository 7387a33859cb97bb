"""What nodes write of themselves: JSON, of which a later version may say more than this one knows."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.reconciler.cluster.keys import KEPT

_Address = Annotated[IPAddress, BeforeValidator(lambda it: ip_address(it)), PlainSerializer(str)]
_Network = Annotated[IPNetwork, BeforeValidator(lambda it: ip_network(it)), PlainSerializer(str)]


class Record(BaseModel):
    """Frozen, and open: what is unknown is another version's business."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def written(self) -> bytes:
        return self.model_dump_json().encode()


class Identity(Record):
    """Which machine uses a node's name: `boot` is of one boot and one network namespace, `machine` outlives both."""

    boot: str
    machine: str = ""

    def is_copy_of(self, other: Identity) -> bool:
        """Of one machine-id, and not on one kernel: this one or the other was cloned, or it is the other before or
        after a boot."""
        same = bool(self.machine) and self.machine == other.machine
        return same and not self.is_beside(other)

    def is_beside(self, other: Identity) -> bool:
        """On one kernel, in another network namespace."""
        return self.boot != other.boot and self.boot.partition("/")[0] == other.boot.partition("/")[0]


class PresenceRecord(Record):
    identity: Identity


class NodeRecord(Record):
    """What a node tells of itself; `mode` is how it sends to others and takes what they send, and `vxlan` the number
    and the UDP port of its VXLAN network."""

    identity: Identity
    underlay: tuple[_Address, ...] = ()
    mode: str = ""
    vxlan: tuple[int, int] | None = None
    version: str = ""


class PrefixRecord(Record):
    """Of which pool of the cluster a prefix is."""

    pool: _Network


class EndpointRecord(Record):
    """What policies see of an interface of a workload, said by the node that it is on."""

    workload_id: str
    if_name: str
    namespace: str
    labels: dict[str, str] = {}
    addresses: tuple[_Address, ...] = ()


R = TypeVar("R", bound=Record)


def read(kind: type[R], value: bytes) -> R | None:
    """None where it says nothing that is understood."""
    found = _read(kind, value)
    return found if isinstance(found, kind) else None


def parsed(kind: type[R], value: bytes) -> R | None:
    """The same, and nothing is remembered of it: there may be a hundred thousand."""
    try:
        return kind.model_validate_json(value)
    except ValidationError:
        return None


_read = lru_cache(maxsize=KEPT)(parsed)
