"""Ring adds gradients up over all ranks, on MLX's distributed engine.

MLX's ring says nothing of what goes wrong in it: two rings on the same ports become one, arrays of unlike sizes are summed in part, a
second sum after a lost peer waits for ever. So ranks prove to each other that they belong together before the first sum, and each
sum brings along the step, the pairs and a checksum of the weights, which must be the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from prefd.daemon.worker.scoring.trunk import list_arrays

CHUNK_BYTES = 256 * 2**20
"""Of a sum at once: all gradients of a whole model at once would be a second copy of it."""
STEPS = 2**16
"""Step numbers are compared below this: float32 has every whole number up to 2²⁴, of which many ranks take a multiple."""
HALF = 2**16
VARIABLES = ("MLX_RANK", "MLX_HOSTFILE", "MLX_WORLD_SIZE", "MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR")
"""What MLX finds a group by: what somebody has set for another program is not taken up."""
OLDEST_MLX = (0, 32, 2)
"""Before it, a ring whose peer has died waits for ever."""


class LostRing(Exception):
    """The ring is broken, or its ranks do not agree. No further sum may be tried in this process: it would never return."""


@dataclass(frozen=True)
class RingPlace:
    """RingPlace says which rank of a ring a process is, and where they all listen."""

    rank: int
    addresses: tuple[str, ...]
    """`ip:port` of each rank."""
    nonce: str
    """Made anew for each ring: what has another belongs to another ring."""

    @property
    def size(self) -> int:
        """Return how many ranks the ring has."""
        return len(self.addresses)


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

    def __init__(self, group: Any, size: int) -> None:
        self._group = group
        self.size = size

    @classmethod
    def join(cls, place: RingPlace, seconds: int) -> Ring:
        """Join the ring and wait for the others. Raises LostRing for a ring of others.

        MLX waits for them without an end, and holds Python up meanwhile: after so many seconds the system ends this process
        (SIGALRM).
        """
        for name in VARIABLES:
            os.environ.pop(name, None)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as hosts:
            json.dump([[address] for address in place.addresses], hosts)
            hosts.flush()
            os.environ |= {"MLX_RANK": str(place.rank), "MLX_HOSTFILE": hosts.name}
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            try:
                group = mx.distributed.init(strict=True, backend="ring")
            except RuntimeError as error:
                raise LostRing(f"the ranks cannot reach each other: {error}") from error
            finally:
                signal.alarm(0)
                for name in ("MLX_RANK", "MLX_HOSTFILE"):
                    os.environ.pop(name, None)
        ring = cls(group, place.size)
        ring._shake_hands(place)
        return ring

    def _shake_hands(self, place: RingPlace) -> None:
        """Make sure that the group is this ring, whole and in its order. Raises LostRing."""
        digest = hashlib.sha256(place.nonce.encode()).digest()
        own = np.array([*np.frombuffer(digest[:12], np.int32) & 0x7FFFFFFF, place.rank, place.size], np.int32)
        everyone = mx.distributed.all_gather(mx.array(own)[None], group=self._group, stream=mx.cpu)
        table = np.array(self._wait_for(everyone))
        expected = np.tile(own, (place.size, 1))
        expected[:, 3] = np.arange(place.size)
        if not np.array_equal(table, expected):
            raise LostRing("the ranks of another job are on the same ports, or one has another number of ranks")

    def sum(self, gradients: Any, stamp: Stamp) -> Any:
        """Return the sum of every rank's `gradients`, a tree of float32 arrays. Raises LostRing."""
        leaves = sorted(list_arrays(gradients), key=lambda leaf: leaf[0])
        mx.eval([array for _, array in leaves])
        summed: list[tuple[str, mx.array]] = []
        for chunk in cut_chunks(leaves):
            flat = mx.concatenate([_stamp_array(stamp), *(array.reshape(-1) for _, array in chunk)])
            mx.eval(
                flat
            )  # alone: on a GPU, what waits for other ranks in one graph with its kernels is ended by the driver
            total = self._wait_for(mx.distributed.all_sum(flat, group=self._group, stream=mx.cpu))
            self._require_agreement(np.array(total[: len(Stamp.__annotations__) + 1]), stamp)
            begin = len(Stamp.__annotations__) + 1
            for name, array in chunk:
                summed.append((name, total[begin : begin + array.size].reshape(array.shape)))
                begin += array.size
        return tree_unflatten(summed)

    def _wait_for(self, result: mx.array) -> mx.array:
        try:
            mx.eval(result)
        except RuntimeError as error:
            raise LostRing(str(error)) from error
        return result

    def _require_agreement(self, total: Any, stamp: Stamp) -> None:
        step, pairs, own_pairs, low, high = (float(value) for value in total)
        facts = {
            "step": (step, self.size * (stamp.step % STEPS)),
            "number of pairs": (pairs, self.size * stamp.pairs),
            "pairs that were shared out": (own_pairs, stamp.pairs),
            "weights": (low + high * HALF, self.size * stamp.weights),
        }
        for name, (found, expected) in facts.items():
            if found != expected:
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


def describe_old_mlx(version: str) -> str | None:
    """Say why this MLX has no ranks; None where it has."""
    if tuple(int(part) for part in version.split(".")[:3] if part.isdecimal()) >= OLDEST_MLX:
        return None
    oldest = ".".join(map(str, OLDEST_MLX))
    return f"ranks need mlx {oldest} or newer, where a rank that dies is noticed; this is {version}"
