"""Ring adds gradients up over all ranks, on MLX's distributed engine.

MLX's ring says nothing of what goes wrong in it: two rings on the same ports become one, arrays of unlike sizes are summed in part, a
second sum after a lost peer waits for ever. So ranks prove to each other that they belong together before the first sum, and each
sum brings along the step, the pairs and a checksum of the weights, which must be the same everywhere.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from prefd.daemon.worker.ranks.ring_place import RingPlace, find_stream, offered_place
from prefd.daemon.worker.ranks.sum_thread import GivenUp, SumThread
from prefd.daemon.worker.scoring.trunk import list_arrays

CHUNK_BYTES = 256 * 2**20
"""Of a sum at once: all gradients of a whole model at once would be a second copy of it."""
STEPS = 2**16
"""Step numbers are compared below this: float32 has every whole number up to 2²⁴, of which many ranks take a multiple."""
HALF = 2**16


class LostRing(Exception):
    """The ring is broken, or its ranks do not agree. No further sum may be tried in this process: it would never return."""


@dataclass(frozen=True)
class Stamp:
    """Stamp is what ranks must agree on in a sum."""

    step: int
    pairs: int
    """Of the step, over all ranks."""
    own_pairs: int
    """Of this rank."""
    weights: int
    """A checksum of the trainable weights, 32 bits."""


class Ring:
    """Ring is this process's place in a group that was joined."""

    def __init__(self, group: Any, place: RingPlace, lost: threading.Event | None = None) -> None:
        self._group = group
        self._place = place
        self._thread = None if lost is None else SumThread(lost, place.backend != "nccl")
        self.size = place.size
        self.has_drifted = False
        """Whether the ranks' weights were not the same to the last bit in the last sum, where that may be."""

    @classmethod
    def join(cls, place: RingPlace, seconds: int, lost: threading.Event | None = None) -> Ring:
        """Join the ring and wait for the others. Raises LostRing for a ring of others.

        `lost`: what is set where sums are not to be waited for any longer, of a ring over several machines. MLX waits for them without an end, and holds Python up meanwhile: after so many seconds the system ends this process
        (SIGALRM).
        """
        with offered_place(place):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            try:
                group = mx.distributed.init(strict=True, backend=place.backend)
            except RuntimeError as error:
                raise LostRing(f"the ranks cannot reach each other: {error}") from error
            finally:
                signal.alarm(0)
        ring = cls(group, place, lost)
        ring._shake_hands()
        return ring

    def _shake_hands(self) -> None:
        """Make sure that the group is this ring, whole and in its order. Raises LostRing."""
        place = self._place
        digest = hashlib.sha256(place.nonce.encode()).digest()
        own = np.array([*np.frombuffer(digest[:12], np.int32) & 0x7FFFFFFF, place.rank, place.size], np.int32)
        table = np.array(self._collect(mx.distributed.all_gather, mx.array(own[None])))
        expected = np.tile(own, (place.size, 1))
        expected[:, 3] = np.arange(place.size)
        if not np.array_equal(table, expected):
            raise LostRing("the ranks of another job are on the same ports, or one has another number of ranks")

    def sum(self, gradients: Any, stamp: Stamp) -> Any:
        """Return the sum of every rank's `gradients`, a tree of float32 arrays. Raises LostRing."""
        self.has_drifted = False
        leaves = sorted(list_arrays(gradients), key=lambda leaf: leaf[0])
        mx.eval([array for _, array in leaves])
        summed: list[tuple[str, mx.array]] = []
        for chunk in cut_chunks(leaves):
            flat = mx.concatenate([_stamp_array(stamp), *(array.reshape(-1) for _, array in chunk)])
            total = self._collect(mx.distributed.all_sum, flat)
            self._require_agreement(np.array(total[: len(Stamp.__annotations__) + 1]), stamp)
            begin = len(Stamp.__annotations__) + 1
            for name, array in chunk:
                summed.append((name, total[begin : begin + array.size].reshape(array.shape)))
                begin += array.size
        return tree_unflatten(summed)

    def spread(self, leaves: Sequence[tuple[str, mx.array]]) -> list[tuple[str, mx.array]]:
        """Return the first rank's arrays, to the bit, of which every rank has its own, alike in shapes. Raises LostRing."""
        spread: list[tuple[str, mx.array]] = []
        for chunk in cut_chunks(sorted(leaves, key=lambda leaf: leaf[0])):
            bits = mx.concatenate([array.reshape(-1).view(mx.uint8) for _, array in chunk])
            total = self._collect(mx.distributed.all_sum, bits if self._place.rank == 0 else mx.zeros_like(bits))
            begin = 0
            for name, array in chunk:
                piece = total[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
                spread.append((name, piece))
                begin += array.nbytes
        return spread

    def _collect(self, collective: Callable[..., mx.array], array: mx.array) -> mx.array:
        """Return the result of a collective of all ranks. Raises LostRing."""
        mx.eval(
            array
        )  # alone: on a GPU, what waits for other ranks in one graph with its kernels is ended by the driver
        try:
            if self._thread is not None:
                return self._thread.run(lambda own, stream: collective(own, group=self._group, stream=stream), array)
            result = collective(array, group=self._group, stream=find_stream(self._place))
            mx.eval(result)
        except (RuntimeError, GivenUp) as error:
            raise LostRing(str(error) or "a sum did not come") from error
        return result

    def _require_agreement(self, total: Any, stamp: Stamp) -> None:
        step, pairs, own_pairs, low, high = (float(value) for value in total)
        weights_agree = low + high * HALF == self.size * stamp.weights
        if self._place.may_drift and not weights_agree:
            self.has_drifted = True
        facts = {
            "step": (step, self.size * (stamp.step % STEPS)),
            "number of pairs": (pairs, self.size * stamp.pairs),
            "pairs that were shared out": (own_pairs, stamp.pairs),
            "weights": (float(weights_agree or self._place.may_drift), 1.0),
        }
        for name, (actual, expected) in facts.items():
            if actual != expected:
                raise LostRing(f"the ranks do not agree on the {name} of step {stamp.step}")


def cut_chunks(leaves: Sequence[tuple[str, mx.array]]) -> list[list[tuple[str, mx.array]]]:
    """Cut named arrays into chunks of at most CHUNK_BYTES, or of one array."""
    chunks: list[list[tuple[str, mx.array]]] = []
    room = 0
    for leaf in leaves:
        if not chunks or leaf[1].nbytes > room:
            chunks.append([])
            room = CHUNK_BYTES
        chunks[-1].append(leaf)
        room -= leaf[1].nbytes
    return chunks


def _stamp_array(stamp: Stamp) -> mx.array:
    values = [stamp.step % STEPS, stamp.pairs, stamp.own_pairs, stamp.weights % HALF, stamp.weights // HALF]
    return mx.array(values, mx.float32)


def digest_arrays(tree: Any) -> int:
    """Return a checksum, 32 bits, of a tree's arrays: their bits and their names."""
    checksum = 0
    for name, array in sorted(list_arrays(tree), key=lambda leaf: leaf[0]):
        bits = np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)
        checksum = zlib.crc32(np.ascontiguousarray(bits).tobytes(), zlib.crc32(name.encode(), checksum))
    return checksum
