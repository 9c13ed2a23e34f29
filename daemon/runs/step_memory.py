"""StepMemory is memory in which a worker keeps the state after its last step, and which outlives the worker.

The process that starts the worker opens it and passes its descriptor on. When the worker dies without a checkpoint, by whatever kills
it, that process writes the state into the job's folder, from where the next worker goes on.

It has two slots that are written in turn, so one is whole at any moment. A slot counts from when its seal is there, which is
written last and has the state's checksum.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import google_crc32c

from prefd.cache.segments.durable import whole_file
from prefd.daemon.machine.anonymous_memory import open_anonymous_memory, size_anonymous_memory
from prefd.daemon.runs.run_folder import RunDir

log = logging.getLogger(__name__)

STEP_MEMORY = "PREFD_STEP_MEMORY"
"""The variable with which a worker is told the memory's descriptor."""
SLOTS = 2
SEAL = struct.Struct("<8sQQQI")
SEAL_BYTES = 40
"""A seal and the checksum of it."""
MARK = b"prefd st"
SLOTS_BEGIN = SLOTS * SEAL_BYTES
PIECE_BYTES = 2**20


class BadSeal(ValueError):
    """BadSeal is raised for a slot that holds no step's state, or not what was written."""


class StateTooLarge(Exception):
    """The state of a step does not fit into the memory that was reserved for it."""


@dataclass(frozen=True)
class Seal:
    """Seal says of which step a state is, how many bytes it has, and their crc32c."""

    number: int
    """How many states were kept before it; that of a step may be kept twice, before and after its evaluation."""
    step: int
    size: int
    crc: int

    def pack(self) -> bytes:
        """Write the seal as `SEAL_BYTES` bytes, with a checksum of its own."""
        fields = SEAL.pack(MARK, self.number, self.step, self.size, self.crc)
        return fields + struct.pack("<I", google_crc32c.value(fields))

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """Read a seal. Raises `BadSeal` for anything else."""
        fields = content[: SEAL.size]
        if len(content) != SEAL_BYTES or content[SEAL.size :] != struct.pack("<I", google_crc32c.value(fields)):
            raise BadSeal("it has no seal")
        mark, *values = SEAL.unpack(fields)
        if mark != MARK:
            raise BadSeal("it is sealed by something else")
        return cls(*values)


class SlotWriter:
    """SlotWriter is a file, as far as MLX needs one, that is written into a slot of memory."""

    closed = False

    def __init__(self, slot: memoryview) -> None:
        self.slot = slot
        self.position = self.size = 0

    def write(self, content: bytes | memoryview) -> int:
        """Write at the position. Raises `StateTooLarge` where the slot ends."""
        end = self.position + len(content)
        if end > len(self.slot):
            raise StateTooLarge(f"it has more than {len(self.slot)} bytes")
        self.slot[self.position : end] = content
        self.position, self.size = end, max(self.size, end)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; nothing is written relative to the end."""
        self.position = offset + (self.position if whence == os.SEEK_CUR else 0)
        return self.position

    def tell(self) -> int:
        """Return the position."""
        return self.position


class StepMemory:
    """StepMemory is the memory that a worker and its starter share. One of them writes to it; the other reads when that has ended."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._mapping: mmap.mmap | None = None
        self._written = 0

    @classmethod
    def open(cls) -> Self:
        """Open memory that takes no room yet. Raises OSError."""
        return cls(open_anonymous_memory())

    @classmethod
    def inherit(cls, environment: Mapping[str, str] | None = None) -> Self | None:
        """Return the memory that this process was given, None where it was given none."""
        variable = (os.environ if environment is None else environment).get(STEP_MEMORY)
        if variable is None:
            return None
        os.set_inheritable(int(variable), False)  # its own children have nothing to do with it
        return cls(int(variable))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; it stays while another process has it."""
        if self._mapping is not None:
            self._mapping.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def environment(self) -> dict[str, str]:
        """Return the variables that tell a child of this memory; its descriptor is to be passed on besides."""
        return {STEP_MEMORY: str(self.descriptor)}

    def reserve(self, capacity: int) -> None:
        """Take the memory for states of `capacity` bytes. Raises OSError where there is not as much."""
        size_anonymous_memory(self.descriptor, SLOTS_BEGIN + SLOTS * capacity)

    def write(self, step: int, fill: Callable[[SlotWriter], object]) -> None:
        """Keep the state after `step`, which `fill` writes, in place of the older of the two that are kept. Raises `StateTooLarge`."""
        mapping = self._map()
        slot_number = self._written % SLOTS
        seal_at = slice(slot_number * SEAL_BYTES, (slot_number + 1) * SEAL_BYTES)
        mapping[seal_at] = bytes(SEAL_BYTES)
        with memoryview(mapping) as whole, self._slot(whole, slot_number) as slot:
            writer = SlotWriter(slot)
            fill(writer)
            crc = _checksum(slot[: writer.size])
        mapping[seal_at] = Seal(self._written, step, writer.size, crc).pack()
        self._written += 1

    def rescue(self, path: Path, after: int = 0) -> int | None:
        """Write the newest state to the file `path`, its seal behind it, and return its step.

        None where there is none that is whole and of a later step than `after`. Raises OSError where the disk takes no more.
        """
        if os.fstat(self.descriptor).st_size <= SLOTS_BEGIN:
            return None
        mapping = self._map()
        with memoryview(mapping) as whole:
            for seal, number in sorted(self._read_seals(mapping), key=lambda each: each[0].number, reverse=True):
                with self._slot(whole, number) as slot, slot[: seal.size] as state:
                    if seal.step > after and len(state) == seal.size and _checksum(state) == seal.crc:
                        path.parent.mkdir(exist_ok=True)
                        with whole_file(path, path.with_name(f".{path.name}.partial")) as file:
                            file.write(state)
                            file.write(seal.pack())
                        return seal.step
        return None

    def _read_seals(self, mapping: mmap.mmap) -> list[tuple[Seal, int]]:
        seals = []
        for number in range(SLOTS):
            try:
                seals.append((Seal.unpack(mapping[number * SEAL_BYTES : (number + 1) * SEAL_BYTES]), number))
            except BadSeal:  # nothing was written there, or the worker died while it wrote
                continue
        return seals

    def _map(self) -> mmap.mmap:
        if self._mapping is None:
            self._mapping = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return self._mapping

    def _slot(self, whole: memoryview, number: int) -> memoryview:
        capacity = (len(whole) - SLOTS_BEGIN) // SLOTS
        return whole[SLOTS_BEGIN + number * capacity : SLOTS_BEGIN + (number + 1) * capacity]


def rescue_step(memory: StepMemory, run: RunDir) -> None:
    """Write what a worker of `run` that has died had kept into its folder, where that is newer than its checkpoints."""
    try:
        step = memory.rescue(run.rescued_step, after=run.find_saved_step())
    except (OSError, ValueError) as error:
        log.warning("%s: the state that its worker had kept is lost, and its checkpoints are not: %s", run.root, error)
    else:
        if step is not None:
            log.info("%s: its worker died after step %d, from where it goes on", run.root, step)


def verify_rescued(path: Path) -> int:
    """Return the step whose state was written to `path`. Raises `BadSeal` where it is not as it was, and OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - SEAL_BYTES
        file.seek(max(size, 0))
        seal = Seal.unpack(file.read())
        file.seek(0)
        crc, left = 0, size
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            crc, left = google_crc32c.extend(crc, piece), left - len(piece)
    if seal.size != size or crc != seal.crc:
        raise BadSeal("it is not what was written")
    return seal.step


def _checksum(content: memoryview) -> int:
    """Compute the crc32c of memory that may change, which the library takes in copies only."""
    crc = 0
    for begin in range(0, len(content), PIECE_BYTES):
        crc = google_crc32c.extend(crc, bytes(content[begin : begin + PIECE_BYTES]))
    return int(crc)
