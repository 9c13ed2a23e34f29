"""What goes over the pipes arrives as it was, and what is no frame is told."""

from __future__ import annotations

import io

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.ranks.frames import BrokenFrame, Frame, pack_arrays, read_frame, unpack_arrays, write_frame
from prefd.daemon.worker.ranks.pairs import pack_pairs, unpack_pairs


def send(head: dict[str, object], arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> bytes:
    stream = io.BytesIO()
    write_frame(stream, head, arrays)
    return stream.getvalue()


def test_a_frame_arrives_with_its_words_and_its_arrays() -> None:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4), np.float32)]
    data = send({"do": "step", "mine": [1, 2]}, arrays)
    stream = io.BytesIO(data + data)
    for _ in range(2):
        frame = read_frame(stream)
        assert frame is not None
        assert dict(frame.head) == {"do": "step", "mine": [1, 2]}
        assert [array.shape for array in frame.arrays] == [(2, 3), (0, 4)]
        assert np.array_equal(frame.arrays[0], arrays[0])
    assert read_frame(stream) is None


@pytest.mark.parametrize("length", [3, 15, 40])
def test_a_frame_that_is_cut_off_is_told(length: int) -> None:
    data = send({"do": "step"}, [np.ones(3, np.float32)])
    with pytest.raises(BrokenFrame, match="cut off"):
        read_frame(io.BytesIO(data[:length]))


def test_what_something_else_has_written_to_the_pipe_is_told() -> None:
    with pytest.raises(BrokenFrame, match="something else has written"):
        read_frame(io.BytesIO(b"warning: a library prints this"))


def test_arrays_of_mlx_keep_their_bits_in_half_precision_too() -> None:
    named = [("a", mx.random.normal((3, 2)).astype(mx.bfloat16)), ("step", mx.array(7, mx.uint64)), ("b", mx.ones(2))]
    names, arrays = pack_arrays(named)
    for (name, value), (expected_name, expected) in zip(unpack_arrays(names, arrays), named, strict=True):
        assert (name, value.dtype, value.shape) == (expected_name, expected.dtype, expected.shape)
        assert mx.array_equal(value, expected)


def test_pairs_arrive_with_masks_rows_and_the_references_numbers() -> None:
    mask = np.array([True, False, True])
    shared = Completion(np.array([1, 2, 3, 4], np.uint32), 1, own_mask=mask)
    other, last = (Completion(np.array(ids, np.uint32), 2) for ids in ([1, 2, 9], [1, 2, 8, 8]))
    examples = [Example(3, shared, other), Example(7, last, shared), Example(9, other, last, desirable=False)]
    rows = {side: np.arange(len(side.ids) - side.start, dtype=np.float32) - 5 for side in (shared, other, last)}
    arrived, numbers = unpack_pairs(Frame({}, pack_pairs(examples, rows)))
    assert arrived == examples
    assert [each.row for each in arrived] == [3, 7, 9]
    assert all(np.array_equal(numbers[side], values) for side, values in rows.items())
    assert unpack_pairs(Frame({}, pack_pairs(examples, {}))) == (examples, {})
