"""A tensor of the protocol becomes a list of numbers, from its bytes or from its JSON."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefd.daemon.live.refusal import RefusedCall, UnsupportedCall
from prefd.daemon.live.wire import read_fields, read_numbers, take_bytes, take_number

FLOAT32, INT64, INT32, BFLOAT16 = 1, 2, 3, 4
CODES = {FLOAT32: "f", INT64: "q", INT32: "i"}
"""How `array` calls them."""
SPARSE = "a sparse tensor is not supported here: send dense ones"


@dataclass(frozen=True)
class Tensor:
    """Tensor is a list of numbers with its shape."""

    values: Sequence[float]
    shape: Sequence[int]

    def flatten(self, name: str) -> list[float]:
        """Return the numbers of a tensor of one dimension. Raises UnsupportedCall for one of more."""
        if len(self.shape) > 1:
            shape = "×".join(map(str, self.shape))
            raise UnsupportedCall(f"{name} has the shape {shape}: only one number for each position is supported here")
        return list(self.values)


def unpack(data: bytes, code: str) -> list[Any]:
    """Return the numbers of little-endian bytes. Raises RefusedCall (400) for a length that is no multiple."""
    numbers = array(code)
    if len(data) % numbers.itemsize:
        raise RefusedCall(400, f"{len(data)} bytes are no whole number of values of {numbers.itemsize} bytes")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def pack(values: Sequence[float] | Sequence[int], code: str) -> bytes:
    """Return numbers as little-endian bytes."""
    numbers = array(code, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def read_tensor(data: bytes) -> Tensor:
    """Read a tensor's message. Raises RefusedCall (400), and UnsupportedCall for a sparse one and for bfloat16."""
    dense, dtype, shape = b"", 0, list[int]()
    for number, value in read_fields(data):
        if number == 1:
            dense = take_bytes(value)
        elif number == 2:
            raise UnsupportedCall(SPARSE)
        elif number == 3:
            dtype = take_number(value)
        elif number == 4:
            shape += read_numbers(value)
    if dtype not in CODES:
        raise UnsupportedCall(f"a tensor of dtype {dtype} is not supported here: send float32 or int64")
    return Tensor(unpack(dense, CODES[dtype]), shape)


def parse_tensor(document: Any) -> Tensor:
    """Read a tensor's JSON: `{data, dtype, shape}`. Raises RefusedCall (400), and UnsupportedCall for a sparse one."""
    if not isinstance(document, Mapping) or not isinstance(values := document.get("data"), list):
        raise RefusedCall(400, "a tensor is an object with `data`, `dtype` and `shape`")
    if document.get("sparse_crow_indices") is not None:
        raise UnsupportedCall(SPARSE)
    shape = document.get("shape")
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        raise RefusedCall(400, "a tensor's `data` is a list of numbers")
    return Tensor(values, shape if isinstance(shape, list) else [len(values)])
