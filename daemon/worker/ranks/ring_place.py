"""RingPlace is a rank's place in a group of MLX's, and what MLX finds that group by: variables of the environment, and files.

The ring, over TCP, is what is tried. The others are written as MLX's documentation has them, and were never tried: jaccl sums over
Thunderbolt on Macs, nccl between GPUs under Linux.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx

VARIABLES = (
    "MLX_RANK",
    "MLX_HOSTFILE",
    "MLX_WORLD_SIZE",
    "MLX_IBV_DEVICES",
    "MLX_JACCL_COORDINATOR",
    "MLX_JACCL_RING",
    "NCCL_HOST_IP",
    "NCCL_PORT",
)
"""What MLX finds a group by: what somebody has set for another program is not taken up."""
OLDEST_MLX = (0, 32, 2)
"""Before it, a ring whose peer has died waits for ever."""


@dataclass(frozen=True)
class RingPlace:
    """RingPlace says which rank of a ring a process is, and where they all listen."""

    rank: int
    addresses: tuple[tuple[str, ...], ...]
    """`ip:port` of each rank, of as many connections as there are addresses of each."""
    nonce: str
    """Made anew for each ring: what has another belongs to another ring."""
    backend: str = "ring"
    rdma: Sequence[Any] = ()
    """For jaccl, of each rank the devices that lead to the others, as mlx.distributed_config lists them."""
    may_drift: bool = False
    """Whether ranks compute on machines that may round differently: their weights are made the same again then."""

    @property
    def size(self) -> int:
        """Return how many ranks the ring has."""
        return len(self.addresses)

    def seen_by(self, rank: int) -> RingPlace:
        """Return the place of another rank of the same ring."""
        return replace(self, rank=rank)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes a place of."""
        return vars(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RingPlace:
        """Make the place that `to_json` describes."""
        addresses = tuple(map(tuple, document["addresses"]))
        return cls(**{**document, "addresses": addresses, "rdma": tuple(document["rdma"])})


@contextmanager
def offered_place(place: RingPlace) -> Iterator[None]:
    """Let MLX find the place by the environment, for the time of the block, and nothing that somebody else has set."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    with TemporaryDirectory(prefix="prefd-ring-") as folder:
        os.environ |= describe_place(place, Path(folder))
        try:
            yield
        finally:
            for name in VARIABLES:
                os.environ.pop(name, None)


def describe_place(place: RingPlace, folder: Path) -> dict[str, str]:
    """Write what MLX reads into `folder`, and return the variables that lead to it."""
    ip, _, port = place.addresses[0][0].partition(":")
    variables = {"MLX_RANK": str(place.rank)}
    if place.backend == "nccl":
        return variables | {"MLX_WORLD_SIZE": str(place.size), "NCCL_HOST_IP": ip, "NCCL_PORT": port}
    if place.backend == "jaccl":
        devices = folder / "devices.json"
        devices.write_text(json.dumps(place.rdma))
        return variables | {"MLX_IBV_DEVICES": str(devices), "MLX_JACCL_COORDINATOR": f"{ip}:{port}"}
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps(place.addresses))
    return variables | {"MLX_HOSTFILE": str(hosts)}


def find_stream(place: RingPlace) -> Any:
    """Return the stream that sums run on: nccl's is the GPU's, of all others the processor's."""
    return None if place.backend == "nccl" else mx.cpu


def describe_old_mlx(version: str) -> str | None:
    """Say why this MLX has no ranks; None where it has."""
    if tuple(int(part) for part in version.split(".")[:3] if part.isdecimal()) >= OLDEST_MLX:
        return None
    oldest = ".".join(map(str, OLDEST_MLX))
    return f"ranks need mlx {oldest} or newer, where a rank that dies is noticed; this is {version}"
