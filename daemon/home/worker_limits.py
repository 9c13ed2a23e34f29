"""WorkerLimits says how much of the machine a worker may take: `[worker]` in config.toml.

The worker sets CPUs and niceness itself, first of all, from its environment, so that its children inherit them. Memory is
watched from outside: a limit on address space (RLIMIT_AS) would count memory that is only mapped or reserved, and a worker
that trains a two-layer model has 990 MB of that for the 130 MB that it holds.
"""

from __future__ import annotations

from typing import Literal

import psutil
from pydantic import Field, field_validator

from prefd.daemon.machine.cpus import CPUS, GPU_SHARE, NICE, THREADS, usable_cpus
from prefd.daemon.machine.heat import describe_heat
from prefd.daemon.machine.power import describe_low_battery
from prefd.daemon.text.sizes import format_size, parse_size
from prefd.daemon.text.strict_model import SpecModel


class WorkerLimits(SpecModel):
    """WorkerLimits says what each worker computes on, with how many cores and how much memory, and when none is to run."""

    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="what models compute on; auto: the GPU where MLX has one, else the CPU"
    )

    cpus: int = Field(0, ge=0, description="processor cores that a worker uses; 0: all there are")
    memory: str = Field(
        "",
        description="a worker that takes more, with its other ranks on this machine, is stopped, and goes on with half the batch, three times; such as 8GB; empty: no limit",
    )
    nice: int = Field(0, ge=0, le=19, description="let other programs go first: 19 the most")
    prevent_sleep: bool = Field(True, description="keep the machine from falling asleep by itself while a job runs")
    on_battery: int = Field(
        0,
        ge=0,
        le=100,
        description="on battery, jobs stop below this percent and go on later; 0: they run on, 100: only plugged in",
    )
    pause_on_heat: bool = Field(
        False, description="stop jobs while heat slows a Mac seriously; they go on when it has cooled"
    )
    gpu_share: int = Field(
        100, ge=5, le=100, description="percent of the time that a job keeps the GPU busy while the display is on"
    )

    @field_validator("memory")
    @classmethod
    def check_size(cls, value: str) -> str:
        """Refuse what is not a size."""
        if value and not parse_size(value):
            raise ValueError(f"{value!r} is no size; give 8GB, 500MB or 1.5GiB")
        return value

    @property
    def memory_bytes(self) -> int | None:
        """Return the limit of memory in bytes; None for none."""
        return parse_size(self.memory) if self.memory else None

    def environment(self, job_id: int) -> dict[str, str]:
        """Return the variables that limit a job's worker. Jobs that run together get different cores where there are enough."""
        variables = {NICE: str(self.nice)} if self.nice else {}
        if self.gpu_share < 100:
            variables[GPU_SHARE] = str(self.gpu_share)
        if self.cpus:
            usable = usable_cpus()
            first = job_id * self.cpus
            cores = sorted({usable[(first + number) % len(usable)] for number in range(min(self.cpus, len(usable)))})
            variables |= {CPUS: ",".join(map(str, cores))} | dict.fromkeys(THREADS, str(len(cores)))
        return variables

    def describe(self) -> str:
        """Describe the limits, such as `2 cores, at most 8GB, nice 10`; empty without limits."""
        limits = [f"{self.cpus} core{'' if self.cpus == 1 else 's'}"] if self.cpus else []
        limits += [f"at most {self.memory}"] if self.memory else []
        limits += [f"nice {self.nice}"] if self.nice else []
        limits += [f"{self.gpu_share} % of the GPU while the display is on"] if self.gpu_share < 100 else []
        limits += [f"on the {self.device.upper()}"] if self.device != "auto" else []
        return ", ".join(limits)

    def explain_rest(self, is_running: bool) -> str | None:
        """Say why a job that runs is to stop now, or none is to start: the battery is low, or the machine hot; None where it may."""
        low_battery = describe_low_battery(self.on_battery)
        return low_battery or (describe_heat(is_running) if self.pause_on_heat else None)

    def doubts(self) -> list[str]:
        """List in words the limits that this machine cannot meet."""
        doubts, total = [], psutil.virtual_memory().total
        if self.cpus > len(usable_cpus()):
            doubts.append(f"worker.cpus is {self.cpus}, and there are {len(usable_cpus())}")
        if self.memory_bytes is not None and self.memory_bytes > total:
            doubts.append(f"worker.memory is {self.memory}, and there are {format_size(total)}: it limits nothing")
        return doubts
