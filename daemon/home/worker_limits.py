"""How much of the machine a worker may take: `[worker]` in config.toml.

CPUs and niceness the worker sets itself, first of all, from its environment: whatever it starts inherits them. Memory is
watched from outside: a limit on address space (RLIMIT_AS) would count what is only mapped or reserved, and a worker that
trains a two-layer model has 990 MB of that for the 130 MB that it holds.
"""

from __future__ import annotations

import psutil
from pydantic import Field, field_validator

from prefd.daemon.machine.cpus import CPUS, NICE, THREADS, usable_cpus
from prefd.daemon.text.sizes import parse_size
from prefd.daemon.text.strict_model import SpecModel


class WorkerLimits(SpecModel):
    cpus: int = Field(0, ge=0, description="processor cores that a worker uses; 0: all there are")
    memory: str = Field(
        "", description="a worker that takes more saves its state and its job fails, such as 8GB; empty: no limit"
    )
    nice: int = Field(0, ge=0, le=19, description="let other programs go first: 19 the most")

    @field_validator("memory")
    @classmethod
    def a_size(cls, value: str) -> str:
        if value and not parse_size(value):
            raise ValueError(f"{value!r} is no size; give 8GB, 500MB or 1.5GiB")
        return value

    @property
    def memory_bytes(self) -> int | None:
        return parse_size(self.memory) if self.memory else None

    def environment(self, job_id: int) -> dict[str, str]:
        """What a worker of this job is told. Jobs that run together get different cores, as far as there are enough."""
        told = {NICE: str(self.nice)} if self.nice else {}
        if self.cpus:
            every = usable_cpus()
            first = job_id * self.cpus
            cores = sorted({every[(first + number) % len(every)] for number in range(min(self.cpus, len(every)))})
            told |= {CPUS: ",".join(map(str, cores))} | dict.fromkeys(THREADS, str(len(cores)))
        return told

    def describe(self) -> str:
        """As `2 cores, 8GB, nice 10`; empty without limits."""
        said = [f"{self.cpus} core{'' if self.cpus == 1 else 's'}"] if self.cpus else []
        said += [f"at most {self.memory}"] if self.memory else []
        return ", ".join([*said, f"nice {self.nice}"] if self.nice else said)

    def doubts(self) -> list[str]:
        """What this machine cannot give."""
        said, total = [], psutil.virtual_memory().total
        if self.cpus > len(usable_cpus()):
            said.append(f"worker.cpus is {self.cpus}, and there are {len(usable_cpus())}")
        if self.memory_bytes is not None and self.memory_bytes > total:
            said.append(f"worker.memory is {self.memory}, and there are {total / 1e9:.1f} GB: it limits nothing")
        return said
