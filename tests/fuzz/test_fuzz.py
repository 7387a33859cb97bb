"""Each target under atheris, from valid inputs on, and under hypothesis, from the schema on."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netplumb.api import wishes
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.reconciler.sources.statefile import parse
from tests.fuzz import budget, seeds
from tests.fuzz.mutations import NUMBERS, TEXTS, Field, fields, mutated, varint
from tests.fuzz.targets import TARGETS, encoded, framed, parts

ROOT = Path(__file__).parents[2]
INPUT_TIMEOUT_S = 60
INPUT_MAX_BYTES = 16384

RUNS = {"request": 2000, "statefile": 1000, "desired": 600}


def corpus(target: str) -> list[bytes]:
    """Valid inputs of a target."""
    if target == "statefile":
        return list(seeds.STATE_FILES)
    requests = [encoded(method, message) for method, message in seeds.requests()]
    return [framed(requests), *(framed([request]) for request in requests)]


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_starts_from_keeps_the_promises(target: str) -> None:
    for data in corpus(target):
        TARGETS[target](data)


def test_what_fuzzing_starts_from_is_taken() -> None:
    """Inputs that are refused at the door would test nothing behind it; and no field of Attach is left out."""
    for _, message in seeds.requests():
        if isinstance(message, pb.AttachRequest):
            wishes.attachment_spec(message)
    assert [len(parse("web.yaml", content)) for content in seeds.STATE_FILES[:3]] == [1, 2, 1]
    filled = {field.number for field in fields(seeds.attach_request().SerializeToString()) or ()}
    assert filled == {field.number for field in pb.AttachRequest.DESCRIPTOR.fields}


@pytest.mark.sweep
@pytest.mark.timeout(INPUT_TIMEOUT_S + 120 * budget.SCALE)
@pytest.mark.parametrize("target", TARGETS)
def test_coverage_guided_fuzzing_breaks_no_promise(target: str, tmp_path: Path) -> None:
    """No crash, no hang, and nothing taken, refused or changed other than promised, from inputs that atheris finds."""
    start = tmp_path / "corpus"
    start.mkdir()
    for number, data in enumerate(corpus(target)):
        (start / str(number)).write_bytes(data)
    words = tmp_path / "words"
    words.write_text("".join('"' + re.sub(r"[^ !#-\[\]-~]", _hex, word) + '"\n' for word in seeds.WORDS))
    runs = budget.inputs(RUNS[target])
    command = (
        f"{sys.executable} -m tests.fuzz {target} -runs={runs} -timeout={INPUT_TIMEOUT_S} -max_len={INPUT_MAX_BYTES} "
        f"-dict={words} -artifact_prefix={tmp_path}/ -print_final_stats=1"
    )
    if budget.SCALE == 1:
        command += " -seed=1"  # a test must say the same twice; longer runs look for what is new
    done = subprocess.run([*command.split(), str(start)], cwd=ROOT, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-8000:]
    found = re.search(r"stat::number_of_executed_units:\s+(\d+)", told)
    assert found is not None, told[-2000:]
    assert int(found[1]) >= runs
    print(f"{target}: {found[1]} inputs")


def _hex(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())


def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[bytes]:
    """Encoded messages of a type: any of its fields any number of times, with values of the right kind or nearly."""
    one_field = [_field(field, depth) for field in descriptor.fields if depth < 3 or field.message_type is None]
    # Few at the top: of many odd ones the first is refused, and none of the others is looked at.
    return st.lists(st.one_of(one_field), max_size=8 if depth else 2).map(b"".join) if one_field else st.just(b"")


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[bytes]:
    number = field.number
    if field.message_type is not None:
        return messages(field.message_type, depth + 1).map(lambda data: Field(number, 2, data).encoded())
    if field.type == FieldDescriptor.TYPE_STRING:
        texts = st.one_of(
            st.sampled_from(TEXTS), st.text(max_size=20).map(str.encode), st.sampled_from(_GOOD_TEXTS), _ODD
        )
        return texts.map(lambda data: Field(number, 2, data).encoded())
    numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(0, 9000))
    return numbers.map(lambda value: Field(number, 0, value).encoded())


_ODD = st.builds("{}%{}".format, st.sampled_from(["fe80::1", "::", "eth"]), st.text(max_size=5)).map(str.encode)
_GOOD_TEXTS = (
    b"pod-1", b"eth1", b"/run/netns/pod-1", b"10.213.0.5", b"fd13::5", b"192.0.2.0/24", b"udp", b"02:00:5e:10:00:01",
    b"net.ipv4.tcp_rmem", b"rpc", b"cni/net",
)  # fmt: skip

METHODS = pb.DESCRIPTOR.services_by_name["WorkloadNetworking"].methods


def _start(number: int) -> bytes:
    """What a request needs to be looked at further; of a field that is given twice the last one counts."""
    if number != ATTACH:
        return b""
    return pb.AttachRequest(workload_id="pod-1", netns=pb.NetNSAttachment(netns_path="/x")).SerializeToString()


ATTACH = next(number for number, method in enumerate(METHODS) if method.name == "Attach")
REQUESTS = st.sampled_from([*range(len(METHODS)), *([ATTACH] * len(METHODS))]).flatmap(
    lambda number: messages(METHODS[number].input_type).map(lambda data: bytes([number]) + _start(number) + data)
)
HISTORIES = st.lists(REQUESTS, max_size=6).map(framed)


@pytest.mark.sweep
@pytest.mark.timeout(120 * budget.SCALE)
@settings(max_examples=budget.inputs(150), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(HISTORIES)
def test_requests_made_from_the_schema_break_no_promise(history: bytes) -> None:
    TARGETS["request"](history)
    TARGETS["desired"](history)


def test_mutations_are_more_than_noise() -> None:
    """Most still parse, few are what they were: the code behind the parser is what is fuzzed."""
    random = Random(1)
    total = parsed = same = 0
    for _, message in seeds.requests():
        original = message.SerializeToString()
        for _ in range(50 if original else 0):
            changed = mutated(random, original)
            total += 1
            same += changed == original
            with suppress(DecodeError):
                type(message).FromString(changed)
                parsed += 1
    assert parsed > total / 2
    assert same < total / 10


@given(st.integers(0, 2**64 - 1), st.binary(max_size=50))
def test_the_wire_format_is_read_as_it_is_written(number: int, data: bytes) -> None:
    """The mutations' own reader and writer agree, so that what they do not change stays."""
    written = [Field(1, 0, number), Field(3000, 2, data), Field(7, 5, b"1234"), Field(8, 1, b"12345678")]
    encoded_fields = b"".join(field.encoded() for field in written)
    assert fields(encoded_fields) == written
    assert len(varint(number)) <= 10
    history = [b"\0" + encoded_fields, b"\1", b"\2" + data]
    assert list(parts(framed(history))) == history
