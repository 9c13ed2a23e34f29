"""Frames are what ranks say to each other over pipes: a small document, and arrays behind it.

A frame is two little-endian numbers of 4 bytes, the length of the head and of the rest; the head as JSON, with dtype and shape
of each array; and the arrays' bytes. NumPy has no bfloat16: such arrays travel as their 16 bits, under their own name.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

LENGTHS = struct.Struct("<IQ")
LONGEST_HEAD = 2**26
Array = npt.NDArray[Any]


class BrokenFrame(Exception):
    """BrokenFrame is raised for what comes over a pipe and is no whole frame: its writer has ended, or something else has written too."""


class NoFrame(BrokenFrame):
    """NoFrame is raised for what cannot be a frame at all: something else has written to the pipe."""


@dataclass(frozen=True)
class Frame:
    """Frame is one message: what it says, and the arrays that it brings."""

    head: Mapping[str, Any]
    arrays: Sequence[Array] = ()


def write_frame(stream: IO[bytes], head: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Write one frame, and flush. Raises OSError where the other end is gone."""
    contiguous = [np.ascontiguousarray(array) for array in arrays]
    described = [[array.dtype.str, list(array.shape)] for array in contiguous]
    text = json.dumps({**head, "arrays": described}).encode()
    stream.write(LENGTHS.pack(len(text), sum(array.nbytes for array in contiguous)))
    stream.write(text)
    stream.writelines(array.data.cast("B") if array.size else b"" for array in contiguous)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Frame | None:
    """Read one frame; None where the stream has ended between two. Raises BrokenFrame."""
    start = stream.read(LENGTHS.size)
    if not start:
        return None
    if len(start) < LENGTHS.size:
        raise BrokenFrame("a frame was cut off in its lengths")
    head_length, rest_length = LENGTHS.unpack(start)
    if head_length > LONGEST_HEAD:
        raise NoFrame(f"a frame cannot have a head of {head_length} bytes: something else has written to the pipe")
    text, rest = stream.read(head_length), stream.read(rest_length)
    if len(text) < head_length or len(rest) < rest_length:
        raise BrokenFrame("a frame was cut off")
    head = json.loads(text)
    arrays, begin = [], 0
    for dtype, shape in head.pop("arrays"):
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(rest, dtype, count, begin).reshape(shape))
        begin += arrays[-1].nbytes
    return Frame(head, arrays)


def pack_arrays(named: Sequence[tuple[str, mx.array]]) -> tuple[list[list[str]], list[Array]]:
    """Make what a frame carries of MLX arrays: their names with their dtypes, and their bits."""
    names, arrays = [], []
    for name, array in named:
        is_half = array.dtype == mx.bfloat16
        names.append([name, "bfloat16" if is_half else ""])
        arrays.append(np.array(array.view(mx.uint16) if is_half else array))
    return names, arrays


def unpack_arrays(names: Sequence[Sequence[str]], arrays: Sequence[Array]) -> list[tuple[str, mx.array]]:
    """Make MLX arrays of what `pack_arrays` made, to the same bits."""
    unpacked = []
    for (name, dtype), array in zip(names, arrays, strict=True):
        value = mx.array(array)
        unpacked.append((name, value.view(mx.bfloat16) if dtype == "bfloat16" else value))
    return unpacked
