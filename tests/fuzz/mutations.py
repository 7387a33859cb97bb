"""Valid messages, damaged at the level of the wire format: most still parse, and say something odd.

https://protobuf.dev/programming-guides/encoding/: a message is a list of fields, each a tag (number and wire type)
and a value; text, bytes, maps and nested messages are all lengths and bytes.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}

NUMBERS = (0, 1, 2, 127, 128, 1279, 1280, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
TEXTS = (
    b"", b"\0", b"\n", b"\x1b[31m", b"\xff", b"\xed\xa0\x80", "\u202e".encode(), "\U0001f600".encode(), b" ",
    b"a" * 15, b"a" * 16, b"a" * 200, b"a" * 201, b"/" + b"a" * 5000, b"a/b", b"../../etc", b"{}", b"%s%n", b"$(id)",
    b"lo", b"all", b"eth%d", b"rpc", b"cni/x", b"file/x.yaml", b"1e9", b"-1", b"tcp\0", b"/", b"/dev/null",
    b"0.0.0.0", b"255.255.255.255", b"10.0.0.0/8", b"0.0.0.0/0", b"::", b"::1%\n", b"fe80::1%\x1b", b"::ffff:10.0.0.1",
    b"/proc/self/ns/net", b"/proc/thread-self/ns/net", b"/proc/self/fd/0", b"/run/netns/", b"00:00:00:00:00:00",
    b"ff:ff:ff:ff:ff:ff", b"net.ipv4.ip_forward", b"net/../../kernel/core_pattern",
)  # fmt: skip


class Field(NamedTuple):
    number: int
    kind: int
    value: int | bytes

    def encoded(self) -> bytes:
        tag = varint(self.number << 3 | self.kind)
        if isinstance(self.value, int):
            return tag + varint(self.value)
        return tag + (varint(len(self.value)) if self.kind == BYTES else b"") + self.value


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def fields(data: bytes) -> list[Field] | None:
    """The fields of a message; None if the bytes are none."""
    found: list[Field] = []
    position = 0
    try:
        while position < len(data):
            tag, position = _read_varint(data, position)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value, position = _read_varint(data, position)
                found.append(Field(number, kind, value))
                continue
            if kind == BYTES:
                length, position = _read_varint(data, position)
            else:
                length = _FIXED[kind]
            if not number or position + length > len(data):
                return None
            found.append(Field(number, kind, data[position : position + length]))
            position += length
    except (IndexError, KeyError):
        return None
    return found


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, position


def mutated(random: Random, data: bytes, depth: int = 0) -> bytes:
    """The message with one or a few things changed; at times only its bytes."""
    found = fields(data)
    if not found or random.random() < 0.05:
        return _flipped(random, data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if found:
            _mutate(random, found, depth)
    return b"".join(field.encoded() for field in found)


def _mutate(random: Random, found: list[Field], depth: int) -> None:
    # What is longer says more, and has more that can be wrong.
    (position,) = random.choices(range(len(found)), [len(field.encoded()) for field in found])
    field = found[position]
    match random.randrange(12):
        case 0:
            del found[position]
        case 1:
            found[position:position] = [field] * random.choice((1, 2, 17, 65, 1025))
        case 2:
            found[position] = field._replace(number=random.choice((1, 2, 3, 17, 18, 2000, 2**29 - 1)))
        case 3:
            random.shuffle(found)
        case 4:
            found.insert(position, Field(random.randrange(1, 20), VARINT, random.choice(NUMBERS)))
        case _ if isinstance(field.value, int):
            found[position] = field._replace(value=random.choice(NUMBERS))
        case 5:
            found[position] = field._replace(value=_flipped(random, field.value))
        case _ if depth < 3 and fields(field.value):
            found[position] = field._replace(value=mutated(random, field.value, depth + 1))
        case _:
            found[position] = field._replace(kind=BYTES, value=random.choice(TEXTS))


def _flipped(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        position = random.randrange(len(changed) + 1)
        match random.randrange(3):
            case 0:
                changed[position : position + 1] = random.randbytes(1)
            case 1:
                del changed[position : position + random.randrange(1, 9)]
            case _:
                changed[position:position] = random.choice(
                    (random.randbytes(random.randrange(1, 9)), random.choice(TEXTS))
                )
    return bytes(changed)
