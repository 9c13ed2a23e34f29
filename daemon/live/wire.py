"""Reads and writes the fields of protobuf messages: tags, varints, and what is length-delimited. The messages themselves are elsewhere.

Two kinds of request and two of result are of this format, with some twenty fields in all: that is less than a dependency.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from prefd.daemon.live.refusal import RefusedCall

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10
MAX_FIELDS = 20_000
"""Of one message: clients send 1,024 datums at once, and a datum has some ten."""
MAX_NUMBERS = 64
"""Of one repeated number: the only ones are shapes."""

Field = tuple[int, int | bytes]
"""A field's number, and its value: a number of a varint, else the bytes."""


def read_fields(data: bytes) -> Iterator[Field]:
    """Yield the fields of a message in their order, unknown ones too. Raises RefusedCall (400) for what is cut or of no known type."""
    position = fields = 0
    while position < len(data):
        if (fields := fields + 1) > MAX_FIELDS:
            raise RefusedCall(400, f"a message of the protobuf body has more than {MAX_FIELDS:,} fields")
        tag, position = _read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _read_varint(data, position)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise RefusedCall(400, f"the protobuf body has a field of type {kind}, which there is none of")
        if length > len(data) - position:
            raise RefusedCall(400, f"the protobuf body is cut off in field {number}")
        yield number, data[position : position + length]
        position += length


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index in range(MAX_VARINT_BYTES):
        if position >= len(data):
            raise RefusedCall(400, "the protobuf body is cut off in a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, position
    raise RefusedCall(400, "the protobuf body has a number of more than ten bytes")


def take_bytes(value: int | bytes) -> bytes:
    """Return the value of a length-delimited field. Raises RefusedCall (400) for another."""
    if isinstance(value, bytes):
        return value
    raise RefusedCall(400, "the protobuf body has a number where a text, a message or bytes are expected")


def take_text(value: int | bytes) -> str:
    """Return the value of a text. Raises RefusedCall (400) for another."""
    try:
        return take_bytes(value).decode()
    except UnicodeDecodeError:
        raise RefusedCall(400, "the protobuf body has a text that is not UTF-8") from None


def take_number(value: int | bytes) -> int:
    """Return the value of a varint. Raises RefusedCall (400) for another."""
    if isinstance(value, int):
        return value
    raise RefusedCall(400, "the protobuf body has bytes where a number is expected")


def take_double(value: int | bytes) -> float:
    """Return the value of a double. Raises RefusedCall (400) for another."""
    data = take_bytes(value)
    if len(data) != 8:
        raise RefusedCall(400, "the protobuf body has no double where one is expected")
    return float(struct.unpack("<d", data)[0])


def read_numbers(value: int | bytes) -> list[int]:
    """Return the values of a repeated number, packed or one at a time."""
    if isinstance(value, int):
        return [value]
    numbers, position = list[int](), 0
    while position < len(value):
        if len(numbers) == MAX_NUMBERS:
            raise RefusedCall(400, f"the protobuf body has a shape of more than {MAX_NUMBERS} numbers")
        number, position = _read_varint(value, position)
        numbers.append(number)
    return numbers


def read_entry(value: int | bytes) -> tuple[str, int | bytes]:
    """Return the key and the value of an entry of a map; a missing value is empty bytes."""
    fields = dict(read_fields(take_bytes(value)))
    return take_text(fields.get(1, b"")), fields.get(2, b"")


def write_varint(value: int) -> bytes:
    """Write a number that is not negative."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def write_number(number: int, value: int) -> bytes:
    """Write a field that is a number; zero is the default and is left out."""
    return write_varint(number << 3 | VARINT) + write_varint(value) if value else b""


def write_bytes(number: int, value: bytes | str) -> bytes:
    """Write a field that is bytes, a text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return write_varint(number << 3 | BYTES) + write_varint(len(data)) + data


def write_all(number: int, values: Iterable[bytes]) -> bytes:
    """Write a repeated field of messages."""
    return b"".join(write_bytes(number, value) for value in values)


def write_doubles(number: int, values: Mapping[str, float]) -> bytes:
    """Write a map of texts to doubles."""
    value_tag = write_varint(2 << 3 | FIXED64)
    return write_all(
        number, (write_bytes(1, key) + value_tag + struct.pack("<d", each) for key, each in values.items())
    )
