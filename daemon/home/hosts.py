"""A Host is a machine that ranks of a job may run on, as `[distributed]` in config.toml and mlx.launch's hostfile name it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from prefd.daemon.text.strict_model import SpecModel, Text

HERE = ("localhost", "127.0.0.1", "::1")
"""Names by which a list of hosts calls this machine; the first of a list is this machine whatever its name."""
LONGEST_HOSTFILE = 2**20


class BadHosts(ValueError):
    """BadHosts is raised for a list of hosts that cannot be used. The message names the host and the remedy."""


class Host(SpecModel):
    """Host is one rank's machine: where ssh finds it, and where the others reach it."""

    ssh: Text = Field(
        description="what ssh calls it: a name of ~/.ssh/config, user@host, or localhost for this machine"
    )
    ips: list[str] = Field([], description="its IPv4 addresses, at which the other machines reach it")
    rdma: list[Any] = Field([], description="of mlx.distributed_config, for the backend jaccl")
    python: str = Field("", description="the Python there that has prefd; default: the path of this one")
    folders: dict[str, str] = Field(
        {}, description="a folder here, and where the same one is there: models and adapters"
    )

    @field_validator("ssh")
    @classmethod
    def check_name(cls, value: str) -> str:
        """Refuse what ssh would take for an option."""
        if value.startswith("-") or any(each.isspace() for each in value):
            raise ValueError(f"a host is a name that ssh knows, such as studio-2 or anna@10.0.0.2, got {value!r}")
        return value

    @field_validator("ips")
    @classmethod
    def check_addresses(cls, value: list[str]) -> list[str]:
        """Refuse what is no IPv4 address: MLX's ring takes nothing else."""
        for each in value:
            try:
                ipaddress.IPv4Address(each)
            except ValueError:
                raise ValueError(f"expected an IPv4 address, such as 192.168.1.10, got {each!r}") from None
        return value

    def find_folder(self, path: str) -> str:
        """Return where the folder or file `path` of this machine is there, by the longest of `folders` that it lies in."""
        for here in sorted(self.folders, key=len, reverse=True):
            place = Path(here).expanduser()
            if Path(path).is_relative_to(place):
                return str(Path(self.folders[here], Path(path).relative_to(place)))
        return path


HOSTS = TypeAdapter(tuple[Host, ...])


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """Read a hostfile of mlx.launch or mlx.distributed_config: a list of hosts, or a document that has one. Raises BadHosts."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(LONGEST_HOSTFILE))
    except (OSError, ValueError) as error:
        raise BadHosts(
            f"the hostfile {path} cannot be read as JSON ({error}); see [distributed] in config.toml"
        ) from None
    hosts: Any = document.get("hosts") if isinstance(document, dict) else document
    try:
        return HOSTS.validate_python([{**each, "rdma": each.get("rdma") or []} for each in hosts], strict=False)
    except (ValidationError, TypeError, AttributeError) as error:
        reason = "expected a list of objects with ssh and ips"
        if isinstance(error, ValidationError):
            fault = error.errors()[0]
            reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise BadHosts(f"the hostfile {path}: {reason}; mlx.distributed_config writes one") from None


def is_here(hosts: Sequence[Host], index: int) -> bool:
    """Say whether a host of a list is this machine: the first one, every other of its name, and localhost."""
    return hosts[index].ssh in (hosts[0].ssh, *HERE)


def check_hosts(hosts: Sequence[Host]) -> None:
    """Raise BadHosts where several machines cannot reach each other by this list."""
    if all(is_here(hosts, index) for index in range(len(hosts))):
        return
    for index, host in enumerate(hosts):
        if not host.ips:
            raise BadHosts(
                f"distributed.hosts.{index}: {host.ssh} has no ips, and the ranks of several machines reach each other by them; "
                "give the IPv4 address at which the others reach it, of this machine too"
            )
        if ipaddress.IPv4Address(host.ips[0]).is_loopback and len({each.ips[0] for each in hosts if each.ips}) > 1:
            raise BadHosts(
                f"distributed.hosts.{index}: {host.ssh} has the address {host.ips[0]}, at which only itself reaches it; "
                "give the one in the network of the others"
            )
