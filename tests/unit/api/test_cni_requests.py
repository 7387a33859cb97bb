"""What a runtime says, taken apart: the specification's rules for environment and configuration, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.api.cni.request import request, version_of
from netplumb.api.cni.spec import SUPPORTED, CniError, Code, Command
from netplumb.models.attachment import AttachmentKey

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG = {"cniVersion": "1.1.0", "name": "cluster", "type": "netplumb-cni"}


def config(**fields: object) -> bytes:
    return json.dumps(CONFIG | fields).encode()


def refused(environment: dict[str, str], data: bytes, code: Code, *words: str) -> None:
    """The request is refused with this code, and these words are in what is said of it."""
    with pytest.raises(CniError) as caught:
        request(environment, data)
    assert caught.value.code is code, caught.value
    for word in words:
        assert word in str(caught.value)


def code_of(data: bytes) -> Code | None:
    """The code that an ADD with this configuration is refused with, None if it is not."""
    try:
        request(ENVIRONMENT, data)
    except CniError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        *(("ADD", name) for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")),
        *(("CHECK", name) for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")),
        *(("DEL", name) for name in ("CNI_CONTAINERID", "CNI_IFNAME")),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_variable_is_code_4_and_named(command: str, missing: str, empty: bool) -> None:
    """Error 4: the message must contain the names of invalid variables. An empty one counts as missing."""
    environment = ENVIRONMENT | {"CNI_COMMAND": command, missing: ""}
    if not empty:
        del environment[missing]
    refused(environment, config(), Code.INVALID_ENVIRONMENT, missing, command)


def test_every_missing_variable_is_named() -> None:
    """One answer tells all of them."""
    words = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
    refused({"CNI_COMMAND": "ADD"}, config(), Code.INVALID_ENVIRONMENT, *words)


@pytest.mark.parametrize("command", ["", "add", "PLUG", "VERSION"])
def test_an_unknown_command_is_code_4(command: str) -> None:
    refused(ENVIRONMENT | {"CNI_COMMAND": command}, config(), Code.INVALID_ENVIRONMENT, "CNI_COMMAND", repr(command))


@pytest.mark.parametrize("name", ["runtimeConfig", "prevResult", "args", "dns", "pool", "mtu", "ipam"])
def test_what_failed_an_add_does_not_fail_its_del(name: str) -> None:
    """A DEL must follow a failed ADD, and completes to the fullest extent possible: a field that only ADD reads does
    not matter to it, nor do arguments that nobody knows."""
    environment = ENVIRONMENT | {"CNI_ARGS": "COLOUR=red"}
    fields = {name: {"type": ["nonsense"], "interfaces": 7, "cni": 7, "nameservers": 7, "ips": 7}}
    with pytest.raises(CniError):
        request(environment, config(**fields))
    assert request(environment | {"CNI_COMMAND": "DEL"}, config(**fields)).container_id == "c1"


def test_a_del_needs_no_namespace() -> None:
    """A namespace may be gone by the time of the DEL."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "CNI_NETNS"}
    asked = request(environment | {"CNI_COMMAND": "DEL"}, config())
    assert (asked.command, asked.container_id, asked.netns, asked.if_name) == (Command.DEL, "c1", "", "eth0")


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_what_is_about_the_network_needs_no_container(command: str) -> None:
    assert request({"CNI_COMMAND": command}, config()).config.name == "cluster"


@pytest.mark.parametrize("container_id", ["-c1", ".c1", "c/1", "c 1", "c1\n", "c\u00e9", "\udcff"])
def test_a_container_id_of_other_characters_is_code_4(container_id: str) -> None:
    """It starts with a letter or digit; dots, dashes and underscores may follow."""
    refused(ENVIRONMENT | {"CNI_CONTAINERID": container_id}, config(), Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID")


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "../etc", "a\n"])
def test_a_network_name_of_other_characters_is_code_7(name: str) -> None:
    refused(ENVIRONMENT, config(name=name), Code.INVALID_CONFIG, "name")


def test_a_configuration_without_a_name_is_code_7() -> None:
    data = json.dumps({"cniVersion": "1.1.0", "type": "netplumb-cni"}).encode()
    refused(ENVIRONMENT, data, Code.INVALID_CONFIG, "name")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b"nonsense"])
def test_what_is_not_json_is_code_6(data: bytes) -> None:
    """Error 6: the content cannot be decoded."""
    refused(ENVIRONMENT, data, Code.DECODING_FAILURE)


@pytest.mark.parametrize("data", [b"[]", b"null", b"7", b'"text"'])
def test_json_that_is_no_object_is_code_6(data: bytes) -> None:
    refused(ENVIRONMENT, data, Code.DECODING_FAILURE, "object")


@given(data=st.binary(max_size=200))
def test_no_input_gets_past_with_another_error(data: bytes) -> None:
    """Whatever the bytes, they are a request or a CniError."""
    assert code_of(data) in (None, Code.DECODING_FAILURE, Code.INCOMPATIBLE_VERSION, Code.INVALID_CONFIG)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("name", "runtimeConfig", "prevResult", "args", "dns", "pool", "mtu", "cni.dev/valid-attachments", "ipam")


@given(name=st.sampled_from(FIELDS), value=JSON)
def test_no_value_of_a_field_gets_past_with_another_error(name: str, value: Any) -> None:
    """A field that is read may hold anything; it is taken, or refused with a code of the specification."""
    assert code_of(config(**{name: value})) in (None, Code.UNSUPPORTED_FIELD, Code.INVALID_CONFIG)


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_every_supported_version_adds_and_deletes(version: str, command: str) -> None:
    asked = request(ENVIRONMENT | {"CNI_COMMAND": command}, config(cniVersion=version))
    assert asked.config.cni_version == version


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "1.2.0", "2.0.0", "", "x", None, 1, [], {}])
@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_another_version_is_code_1(version: object, command: str) -> None:
    """Error 1: incompatible CNI version. What is supported is said."""
    environment = ENVIRONMENT | {"CNI_COMMAND": command}
    refused(environment, config(cniVersion=version), Code.INCOMPATIBLE_VERSION, *SUPPORTED)


def test_a_missing_version_is_code_1() -> None:
    refused(ENVIRONMENT, b'{"name": "cluster"}', Code.INCOMPATIBLE_VERSION)


@pytest.mark.parametrize(
    ("command", "version", "known"),
    [
        *(("CHECK", version, version != "0.3.1") for version in SUPPORTED),
        *(("GC", version, version == "1.1.0") for version in SUPPORTED),
        *(("STATUS", version, version == "1.1.0") for version in SUPPORTED),
    ],
)
def test_a_command_is_of_the_versions_that_have_it(command: str, version: str, known: bool) -> None:
    """CHECK came with 0.4.0, GC and STATUS with 1.1.0; before, they are incompatible."""
    environment = ENVIRONMENT | {"CNI_COMMAND": command}
    if known:
        assert request(environment, config(cniVersion=version)).command == command
    else:
        refused(environment, config(cniVersion=version), Code.INCOMPATIBLE_VERSION, version, command)


def test_ipam_is_code_2_with_key_and_value() -> None:
    """Error 2: the message must contain the key and value of the unsupported field."""
    ipam = {"type": "host-local", "subnet": "10.1.0.0/16"}
    refused(ENVIRONMENT, config(ipam=ipam), Code.UNSUPPORTED_FIELD, "ipam", "host-local", "10.1.0.0/16")


@pytest.mark.parametrize("ipam", [{}, None])
def test_an_empty_ipam_asks_for_nothing(ipam: object) -> None:
    """libcni writes it so where there is none."""
    assert request(ENVIRONMENT, config(ipam=ipam)).config.name == "cluster"


def test_unknown_fields_are_left_alone() -> None:
    """A configuration may hold what is for others."""
    fields = {"keyA": ["some", "thing"], "ipMasq": True, "cni.dev/other": 1, "runtimeConfig": {"aliases": ["a"]}}
    assert request(ENVIRONMENT, config(**fields)).config.name == "cluster"


def test_nulls_are_what_was_not_given() -> None:
    """Go writes null for an empty list or a missing object."""
    fields = {
        "runtimeConfig": {"portMappings": None, "bandwidth": None, "dns": None, "ips": None, "mac": None},
        "args": {"cni": {"labels": None, "ips": None}},
        "dns": None,
        "prevResult": {"interfaces": None, "ips": None, "routes": None, "dns": None},
        "pool": None,
    }
    asked = request(ENVIRONMENT, config(**fields)).config
    assert asked.runtime_config == request(ENVIRONMENT, config()).config.runtime_config
    assert asked.prev_result is not None
    assert asked.prev_result.interfaces == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"runtimeConfig": []}, "runtimeConfig"),
        ({"runtimeConfig": {"portMappings": [{"hostPort": "x"}]}}, "runtimeConfig.portMappings[0].hostPort"),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 80}]}}, "runtimeConfig.portMappings[0].containerPort"),
        ({"runtimeConfig": {"bandwidth": {"ingressRate": "fast"}}}, "runtimeConfig.bandwidth.ingressRate"),
        ({"runtimeConfig": {"ips": [1]}}, "runtimeConfig.ips[0]"),
        ({"prevResult": {"interfaces": [{}]}}, "prevResult.interfaces[0].name"),
        ({"mtu": "large"}, "mtu"),
        ({"cni.dev/valid-attachments": [{"containerID": "c1"}]}, "cni.dev/valid-attachments[0].ifname"),
    ],
)
def test_a_field_of_another_type_is_code_7_and_named(fields: dict[str, object], words: str) -> None:
    """Error 7: invalid network config; the field is named as it was written."""
    refused(ENVIRONMENT, config(**fields), Code.INVALID_CONFIG, words)


def test_args_are_pairs() -> None:
    """CNI_ARGS: pairs parted by semicolons. A value may hold an equals sign."""
    asked = request(ENVIRONMENT | {"CNI_ARGS": "IP=10.0.0.1;;K8S_POD_NAME=a=b"}, config())
    assert asked.args == {"IP": "10.0.0.1", "K8S_POD_NAME": "a=b"}


def test_args_that_are_no_pairs_are_code_4() -> None:
    refused(ENVIRONMENT | {"CNI_ARGS": "K8S_POD_NAME"}, config(), Code.INVALID_ENVIRONMENT, "CNI_ARGS", "K8S_POD_NAME")


@pytest.mark.parametrize("ignore", ["", "IgnoreUnknown=0;", "IgnoreUnknown=false;", "IgnoreUnknown=perhaps;"])
def test_unknown_args_are_code_4_and_named(ignore: str) -> None:
    """Unless the runtime says that they may be ignored, what nobody knows is a mistake."""
    refused(ENVIRONMENT | {"CNI_ARGS": f"{ignore}COLOUR=red"}, config(), Code.INVALID_ENVIRONMENT, "COLOUR")


@pytest.mark.parametrize("ignore", ["1", "true", "True", "TRUE"])
def test_ignore_unknown_lets_unknown_args_pass(ignore: str) -> None:
    asked = request(ENVIRONMENT | {"CNI_ARGS": f"COLOUR=red;IgnoreUnknown={ignore}"}, config())
    assert "COLOUR" not in asked.args


@pytest.mark.parametrize(
    ("args", "workload_id"),
    [
        ("", "c1"),
        ("K8S_POD_UID=", "c1"),
        ("K8S_POD_NAME=web", "c1"),
        ("IgnoreUnknown=1;K8S_POD_UID=0b1e", "0b1e"),
    ],
)
def test_the_workload_is_the_pod_if_there_is_one(args: str, workload_id: str) -> None:
    """An empty K8S_POD_UID counts as none; the container is the workload then."""
    assert request(ENVIRONMENT | {"CNI_ARGS": args}, config()).workload_id == workload_id


def test_each_network_is_a_source() -> None:
    assert request(ENVIRONMENT, config(name="blue")).source == "cni/blue"


@pytest.mark.parametrize("name", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_valid_attachments_are_containers_with_interfaces(name: str) -> None:
    """Under the specification's name and under the one that libcni 1.2.0 had for them."""
    alive = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1"}]
    found = request({"CNI_COMMAND": "GC"}, config(**{name: alive})).config.valid_attachments
    assert found is not None
    assert [AttachmentKey(it.container_id, it.if_name) for it in found] == [("c1", "eth0"), ("c2", "net1")]


def test_a_null_list_of_valid_attachments_is_an_empty_one() -> None:
    """Go's empty list; a missing one is something else."""
    assert request({"CNI_COMMAND": "GC"}, config(**{"cni.dev/valid-attachments": None})).config.valid_attachments == ()
    assert request({"CNI_COMMAND": "GC"}, config()).config.valid_attachments is None


@pytest.mark.parametrize(
    ("data", "version"),
    [(config(cniVersion="0.4.0"), "0.4.0"), (config(cniVersion="9.9.9"), "9.9.9"), (b"{", "1.1.0"), (b"[]", "1.1.0")],
)
def test_an_error_is_worded_in_the_version_in_use(data: bytes, version: str) -> None:
    """That of the configuration, where it can be read."""
    assert version_of(data) == version
