"""The text of a state file → wishes, or every mistake with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.statefile import AttachmentDocument
from netplumb.reconciler.settings.documents import MAX_BYTES, MAX_DOCUMENTS, MAX_ENTRIES, MAX_MISTAKES
from netplumb.reconciler.sources.statefile import StateFileError, declared, parse

REPOSITORY = Path(__file__).parents[3]
WEB = "kind: Attachment\nworkload_id: {id}\nnetns: {{name: {id}, create: true}}\n"


def lines(text: str | bytes) -> list[str]:
    with pytest.raises(StateFileError) as caught:
        parse("web.yaml", text if isinstance(text, bytes) else text.encode())
    return caught.value.lines


def test_a_file_of_several_documents_declares_them_in_order() -> None:
    specs = parse("web.yaml", ("---\n".join(WEB.format(id=it) for it in ("web-1", "web-2"))).encode())
    assert [spec.workload_id for spec in specs] == ["web-1", "web-2"]


def test_a_wish_equals_the_same_wish_said_over_grpc() -> None:
    (spec,) = parse("web.yaml", WEB.format(id="web-1").encode())
    assert type(spec) is AttachmentSpec
    assert spec == AttachmentSpec.model_validate({"workload_id": "web-1", "netns": {"name": "web-1", "create": True}})
    assert "kind" not in spec.model_dump()


def test_every_field_of_a_wish_can_be_declared() -> None:
    assert AttachmentDocument.model_fields.keys() == {"kind", *AttachmentSpec.model_fields}


def test_json_is_read_too() -> None:
    document = {"kind": "Attachment", "workload_id": "a/b \U0001f600", "netns": {"path": "/x"}, "mtu": 1400}
    for indent in (None, 2):
        (spec,) = parse("web.json", json.dumps(document, indent=indent).encode())
        assert (spec.workload_id, spec.mtu) == ("a/b \U0001f600", 1400)


def test_json_may_be_indented_with_tabs() -> None:
    document = {"kind": "Attachment", "workload_id": "web-1", "netns": {"path": "/x"}, "addresses": ["10.213.0.10"]}
    assert parse("web.json", json.dumps(document, indent="\t").encode())[0].workload_id == "web-1"


def test_scalars_mean_what_they_look_like() -> None:
    text = "kind: Attachment\nworkload_id: 1.10\nnetns: {name: 007}\nmac: 02:00:5e:10:00:01\nlabels: {country: no}\n"
    (spec,) = parse("web.yaml", text.encode())
    assert (spec.workload_id, spec.netns.name, spec.mac) == ("1.10", "007", "02:00:5e:10:00:01")
    assert spec.labels == {"country": "no"}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n---\n", "\ufeff"])
def test_a_file_without_content_declares_nothing(text: str) -> None:
    assert parse("web.yaml", text.encode()) == ()


def test_every_mistake_is_named_with_its_line() -> None:
    text = (
        "kind: Attachment\nworkload_id: web-1\nnetns: {path: run}\nif_name: 'eth 0'\n"
        "addreses: [10.0.0.1]\nmtu: 12\n---\nkind: Pod\nnetns:\n  nam: x\naddresses:\n- 10.0.0.1/24\n"
    )
    assert lines(text) == [
        "web.yaml:3: netns.path: 'run' is not an absolute path",
        "web.yaml:4: if_name: 'eth 0' must not contain ' '",
        "web.yaml:5: addreses: is unknown; did you mean addresses?",
        "web.yaml:8: workload_id: is missing",
        "web.yaml:8: kind: must be one of Attachment, NetworkPolicy, Namespace, not Pod",
        "web.yaml:10: netns.nam: is unknown; did you mean name?",
        "web.yaml:12: addresses[0]: is not an IP address",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\n",
            "web.yaml:2: kind: must be one of Attachment, NetworkPolicy, Namespace, not AdminNetworkPolicy",
        ),
        (WEB.format(id="a") + "mtu: 12\n", "web.yaml:4: mtu: 12 is not within 1280 to 65535"),
        (WEB.format(id="a") + "mtu: 1400\nmtu: 1500\n", "web.yaml:5: mtu is given twice, first in line 4"),
        (WEB.format(id="a") + "labels: &x {a: b}\n", "web.yaml:4: anchors are not supported: &x"),
        (WEB.format(id="a") + "labels: !!map {a: b}\n", "web.yaml:4: tags are not supported: tag:yaml.org,2002:map"),
        (WEB.format(id="a") + "labels: {[a]: b}\n", "web.yaml:4: a key must be text"),
        (WEB.format(id="a") + "<<: {mtu: 1400}\n", "web.yaml:4: <<: is unknown"),
        (WEB.format(id="a") + "labels: {a: null}\n", "web.yaml:4: labels.a: must be text"),
        (WEB.format(id="a") + "---\n" + WEB.format(id="a"), "web.yaml:5: a/eth0 is declared twice, first in line 1"),
        ("addresses: [[a]]", "web.yaml:1: addresses[0]: is not an IP address"),
        ("just text", "web.yaml:1: must be a mapping"),
        ("a: b\n\0", "web.yaml:2: holds the control character '\\x00'"),
        ("a: \x1b[31m", "web.yaml:1: holds the control character '\\x1b'"),
        (b"a: b\nc: \xff", "web.yaml:2: is not UTF-8: invalid start byte"),
        ('a: "\\UFFFFFFFF"', "web.yaml:1: is not valid YAML"),
        ("[" * 100_000, "web.yaml:1: is nested more than 16 deep"),
        ("- " * 100_000, "web.yaml:1: is nested more than 16 deep"),
        ("#" * (MAX_BYTES + 1), f"web.yaml: is larger than {MAX_BYTES} bytes"),
        ("--- a\n" * 10, "web.yaml:10: must be a mapping"),
        ("---\n" * 250_000, f"web.yaml:{MAX_DOCUMENTS + 1}: holds more than {MAX_DOCUMENTS} documents"),
        ("a: [" + "b," * 500_000 + "]", f"web.yaml:1: holds more than {MAX_ENTRIES} entries in one document"),
        (
            "a: [[" + "b," * 5_000 + "],[" + "b," * 500_000,
            f"web.yaml:1: holds more than {MAX_ENTRIES} entries in one document",
        ),
        (
            "".join(f"{n}: a\n" for n in range(90_000)),
            f"web.yaml:{MAX_ENTRIES + 1}: holds more than {MAX_ENTRIES} entries in one document",
        ),
        ("a: " + "[" * 9 + "!x b, " * 100_000, "web.yaml:1: and more; too much is wrong to go on"),
        (
            WEB.format(id="a") + 'dns: {servers: ["::1%\\r"]}',
            "web.yaml:4: dns.servers[0]: '::1%\\r' does not name an interface behind the %",
        ),
    ],
)
def test_what_a_state_file_must_not_hold(text: str | bytes, line: str) -> None:
    assert line in lines(text)


def test_an_alias_is_refused() -> None:
    assert "web.yaml:2: aliases are not supported: *x" in lines("a: &x b\nc: *x\n")


def test_a_message_stays_short_however_much_is_wrong() -> None:
    with pytest.raises(StateFileError) as caught:
        parse("web.yaml", b"--- " + b"x" * 100_000 + b"\n--- a" * 1000)
    assert len(caught.value.lines) == 1001
    assert len(str(caught.value)) < 4000


def test_reading_ends_where_too_much_is_wrong() -> None:
    """A file of a million mistakes costs no gigabyte of words about them."""
    assert len(lines("--- {" + "}\n--- {".join(f"a{n}: 1" for n in range(9000)) + "}\n")) < 2 * MAX_MISTAKES


def test_the_examples_parse() -> None:
    for file in (REPOSITORY / "config/examples").rglob("*.yaml"):
        assert parse(file.name, file.read_bytes()), file


def test_the_example_declares_one_static_address_and_one_from_the_pool() -> None:
    one, other = parse("web.yaml", (REPOSITORY / "config/examples/web.yaml").read_bytes())
    assert [str(address) for address in one.addresses] == ["10.213.0.10"]
    assert other.addresses == ()
    assert one.netns.create
    assert other.netns.create


_FRAGMENTS = st.sampled_from(
    [
        *"\n\n\n  -:?[]{},#&*!|>'\"%@`\t\\~<=.",
        "---\n", "...\n", "kind: Attachment\n", "workload_id: ", "netns: ", "{path: /x}", "addresses:\n- ", "10.0.0.1",
        "labels:\n  ", "mtu: 1e9", "\\x", "\\uD800", "\\U0011FFFF", "%YAML 9.9\n", "%TAG ! x\n", "!!binary ", "null",
        "\u2028", "\x85", "\ud7ff", "a" * 300,
    ]
)  # fmt: skip


@given(st.one_of(st.binary(), st.text().map(str.encode), st.lists(_FRAGMENTS).map(lambda it: "".join(it).encode())))
def test_any_content_gives_wishes_or_one_clear_error(content: bytes) -> None:
    specs: tuple[AttachmentSpec, ...] = ()
    told = [""]
    try:
        specs = parse("web.yaml", content)
        told.clear()
    except StateFileError as error:
        told = error.lines
    assert all(type(spec) is AttachmentSpec for spec in specs)
    assert all(line.startswith("web.yaml") and line.isprintable() for line in told)


def test_a_list_of_kubernetes_is_its_items() -> None:
    """What `kubectl get networkpolicies -o yaml` prints, with the lines of what is wrong in it."""
    head = "- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: %s, uid: x}\n"
    text = "apiVersion: v1\nitems:\n" + head % "a" + "  spec: {podSelector: {}}\n" + head % "b" + "%s"
    text += "kind: List\nmetadata: {resourceVersion: ''}\n"
    found = declared("all.yaml", (text % "  spec: {podSelector: {}}\n").encode())
    assert [(it.line, it.manifest.metadata.name) for it in found.manifests] == [(3, "a"), (7, "b")]
    with pytest.raises(StateFileError) as caught:
        declared("all.yaml", (text % "  spec: {podSelector: {}, prio: 1}\n").encode())
    assert caught.value.lines == ["all.yaml:10: spec.prio: is unknown"]
    assert declared("all.yaml", b"apiVersion: v1\nkind: List\nitems: []\n").manifests == ()
