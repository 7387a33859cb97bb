"""Names that follow from the key: stable, apart, and readable back."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from netplumb.models.attachment import AttachmentKey
from netplumb.models.fields import IF_NAME_MAX_CHARS, IfName, WorkloadId
from netplumb.models.naming import alias_of, key_of_alias, node_if_name, workload_mac

_ALIAS_MAX_BYTES = 255  # IFALIASZ less the closing NUL, include/uapi/linux/if.h
WORKLOAD_ID: TypeAdapter[str] = TypeAdapter(WorkloadId)
IF_NAME: TypeAdapter[str] = TypeAdapter(IfName)


def valid(adapter: TypeAdapter[str], value: str) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


keys = st.builds(
    AttachmentKey,
    st.text(min_size=1, max_size=60).filter(lambda text: valid(WORKLOAD_ID, text)),
    st.text(min_size=1, max_size=15).filter(lambda text: valid(IF_NAME, text)),
)


@given(keys)
def test_the_key_is_read_back_from_its_alias(key: AttachmentKey) -> None:
    """Whatever a valid key holds, colons in the workload's id included, the alias gives it back and fits the kernel."""
    assert key_of_alias(alias_of(key)) == key
    assert len(alias_of(key).encode()) <= _ALIAS_MAX_BYTES


@given(keys)
def test_a_name_on_the_node_is_one_that_the_kernel_takes(key: AttachmentKey) -> None:
    """The derived name is of letters and digits and fits."""
    name = node_if_name(key)
    assert len(name) <= IF_NAME_MAX_CHARS
    assert name.isascii()
    assert name.isalnum()
    assert name == name.lower()


@given(keys)
def test_a_derived_mac_is_unicast_and_locally_administered(key: AttachmentKey) -> None:
    """No derived MAC is a vendor's or a group's."""
    octets = bytes.fromhex(workload_mac(key).replace(":", ""))
    assert len(octets) == 6
    assert octets[0] & 3 == 2


@given(st.lists(keys, unique=True, max_size=20))
def test_different_keys_have_different_names(some: list[AttachmentKey]) -> None:
    """Two attachments share neither a name on the node nor a MAC."""
    assert len({node_if_name(key) for key in some}) == len(some)
    assert len({workload_mac(key) for key in some}) == len(some)


def test_who_comes_again_with_other_addresses_has_another_mac() -> None:
    key = AttachmentKey("web", "eth0")
    some = [[], ["10.0.0.2"], ["10.0.0.3"], ["fd00::2"], ["10.0.0.2", "fd00::2"]]
    assert len({workload_mac(key, map(ip_address, addresses)) for addresses in some}) == len(some)


def test_names_do_not_change_between_versions() -> None:
    """A new netplumb finds what an old one made under the same name."""
    key = AttachmentKey("web", "eth0")
    assert (node_if_name(key), workload_mac(key)) == ("npeyf3zvhnumce", "fa:82:43:1d:c8:2d")
    assert node_if_name(AttachmentKey("eb", "eth0w")) != node_if_name(key)


@given(st.text())
def test_a_foreign_alias_is_no_key(alias: str) -> None:
    """What does not begin as ours does, or is cut short, is nobody's."""
    if not alias.startswith("netplumb:"):
        assert key_of_alias(alias) is None
    for broken in ("netplumb:", "netplumb:eth0", "netplumb:eth0:", "netplumb::web"):
        assert key_of_alias(broken) is None
