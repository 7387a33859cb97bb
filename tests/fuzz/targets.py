"""What is fuzzed, each as a function that takes any bytes and fails where a promise is broken.

The promises: whatever comes, it is taken, or refused in printable words by an error that was meant; what is refused
changes nothing; what is taken can be stored, read back, shown, and marks kernel objects with printable names only.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from netplumb.api import answers, wishes
from netplumb.api.errors import MESSAGE_MAX_BYTES, status_of
from netplumb.api.server.requests import parser
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import FILE_SOURCE_PREFIX, Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.errors import InvalidRequest, Refusal
from netplumb.models.naming import alias_of, key_of_alias, node_if_name
from netplumb.models.settings import Settings
from netplumb.models.status import AttachmentStatus, AttachmentView
from netplumb.reconciler.desired.rehearsal import rehearse
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Store
from netplumb.reconciler.sources.directory import judged
from netplumb.reconciler.sources.statefile import StateFileError, parse
from tests.fuzz.seeds import METHODS

ALIAS_MAX_BYTES = 254

_PARSERS = {
    method.name: parser(GetMessageClass(method.input_type))
    for method in pb.DESCRIPTOR.services_by_name["WorkloadNetworking"].methods
}


def statefile(data: bytes) -> None:
    """A state file's content."""
    try:
        for spec in parse("web.yaml", data):
            _check_taken(spec)
    except StateFileError as error:
        _check_mistakes(error.lines)


def request(data: bytes) -> None:
    """Requests as they come off the wire: of each a byte for the method, two for the length, and the message."""
    for part in parts(data):
        try:
            _wish(*_parsed(part))
        except Refusal as refusal:
            _check_words(refusal)


def desired(data: bytes) -> None:
    """A history: the same requests, each applied to what is desired."""
    store = _store()
    store.erase()
    settings = Settings.model_validate({"pools": ["10.213.0.0/29", "fd13::/64"]})
    state = Desired(store, settings, lambda _: None, lambda: None)
    for part in parts(data):
        before = _shape(state)
        try:
            _apply(state, *_parsed(part))
        except Refusal as refusal:
            _check_words(refusal)
            _check_same(before, state)
        held = [address for it in state.attachments.values() for address in (*it.addresses, *it.releasing)]
        assert len(held) == len(set(held)), "an address is held twice"
    assert store.load().attachments == state.attachments, "the store differs from memory"


@cache
def _store() -> Store:
    """One a process, in memory: a disk would be all that is measured."""
    directory = TemporaryDirectory(prefix="fuzz-", dir="/dev/shm")
    atexit.register(directory.cleanup)
    return Store(Path(directory.name), "boot/1")


TARGETS: Mapping[str, Callable[[bytes], None]] = {"statefile": statefile, "request": request, "desired": desired}


def encoded(method: str, message: Message) -> bytes:
    """One request of a history."""
    return bytes([METHODS.index(method)]) + message.SerializeToString()


def framed(encoded_requests: Iterable[bytes]) -> bytes:
    """The bytes from which `parts` reads these requests."""
    return b"".join(it[:1] + (len(it) - 1).to_bytes(2, "big") + it[1:] for it in encoded_requests)


def parts(data: bytes) -> Iterator[bytes]:
    """The requests of a history."""
    while len(data) >= 3:
        end = 3 + int.from_bytes(data[1:3], "big")
        yield data[:1] + data[3:end]
        data = data[end:]


def _parsed(data: bytes) -> tuple[str, Message]:
    method = METHODS[data[0] % len(METHODS)] if data else METHODS[0]
    message = _PARSERS[method](data[1:])
    if isinstance(message, InvalidRequest):
        raise message
    return method, message


def _wish(method: str, message: Message) -> None:
    """What the servicer makes of the message before it asks the daemon."""
    match message:
        case pb.AttachRequest():
            _check_taken(wishes.attachment_spec(message))
        case pb.DetachRequest():
            assert wishes.detach_spec(message).workload_id.isprintable()
        case pb.GetRequest() | pb.CheckRequest() | pb.DescribeRequest():
            assert all(wishes.attachment_key(message))
        case pb.EventsRequest():
            assert isfinite(wishes.event_query(message).since)
        case pb.GCRequest():
            source, _ = wishes.gc_request(message)
            assert source == "rpc" or source.startswith("cni/")
        case pb.PlanRequest():
            if isinstance(wish := wishes.what_if(message), AttachmentSpec):
                _check_taken(wish)


def _apply(state: Desired, method: str, message: Message) -> None:
    """As the RPC source does, with a kernel that agrees at once."""
    match message:
        case pb.AttachRequest():
            spec = wishes.attachment_spec(message)
            record = state.attach(spec, len(spec.netns.where))
            assert state.attach(spec, len(spec.netns.where)) is record, "the same wish again changed something"
            state.converged(record.key, record.generation)
        case pb.DetachRequest():
            if (removing := state.detach(wishes.detach_spec(message), 0)) is not None:
                state.forget(removing.key)
        case pb.GCRequest():
            source, alive = wishes.gc_request(message)
            for record in state.garbage(source, alive):
                state.withdraw(record.key)
                state.forget(record.key)
            assert not state.garbage(source, alive)
        case pb.PlanRequest():
            before = dict(state.attachments)
            if isinstance(wish := wishes.what_if(message), AttachmentSpec):
                state.preview(wish, 7)
            elif isinstance(wish, tuple):
                declared = {FILE_SOURCE_PREFIX + it.name: judged(it.name, it.content).specs for it in wish}
                rehearse(state.scene(), declared, lambda *_: None)
            assert state.attachments == before, "a preview changed something"


def _check_taken(spec: AttachmentSpec) -> None:
    """What was taken survives the store and the wire, and nothing of it that others see holds a control character."""
    record = Attachment(spec=spec, source="rpc", addresses=spec.addresses, mac=spec.mac)
    assert Attachment.model_validate_json(record.model_dump_json(exclude_defaults=True)) == record
    key = AttachmentKey(spec.workload_id, spec.if_name)
    alias = alias_of(key)
    assert alias.isprintable()
    assert len(alias.encode()) <= ALIAS_MAX_BYTES
    assert key_of_alias(alias) == key
    assert node_if_name(key).isalnum()
    assert spec.if_name.isprintable()
    assert 0 < len(spec.if_name.encode()) <= 15
    assert not set("/:% ") & set(spec.if_name)
    shown = answers.attachment(AttachmentView(record, AttachmentStatus()))
    assert pb.Attachment.FromString(shown.SerializeToString()) == shown
    for field, text in texts(shown):
        assert text.isprintable(), (field, text)


def texts(message: Message) -> Iterator[tuple[str, str]]:
    """Every text in a message, those within other messages and in maps included."""
    for field, value in message.ListFields():
        for item in _items(value):
            if isinstance(item, str):
                yield field.name, item
            elif isinstance(item, Message):
                yield from texts(item)


def _items(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value
        yield from value.values()
    elif isinstance(value, (str, bytes, int, float, Message)):
        yield value
    else:
        yield from value  # type: ignore[misc]


def _shape(state: Desired) -> tuple[object, ...]:
    return dict(state.attachments), state.node_addresses(), state.allocator.usage()


def _check_same(before: tuple[object, ...], state: Desired) -> None:
    assert before == _shape(state), "what was refused changed something"


def _check_mistakes(lines: list[str]) -> None:
    assert lines
    assert all(line.startswith("web.yaml") and line.isprintable() for line in lines), lines


def _check_words(refusal: Refusal) -> None:
    """A refusal has a code of its own, and one printable line for the client."""
    code, message = status_of(refusal)
    assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    assert message
    assert message.isprintable(), message
    assert len(message.encode()) <= MESSAGE_MAX_BYTES
    assert "Traceback" not in message
