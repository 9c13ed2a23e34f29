"""HandedSettings are the settings that a worker runs with: those that its daemon planned with, or those in config.toml.

The daemon hands them over in the environment of each worker that it starts. So a config.toml that is just being edited, or a
plugin that has begun to crash since, disturbs no job that runs. A worker of a command reads config.toml itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from prefd.daemon.home.hosts import BadHosts, Host, check_hosts, read_hostfile
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.machine.files import expand_user

VARIABLE = "PREFD_SETTINGS"


@dataclass(frozen=True)
class HandedSettings:
    """HandedSettings holds what a worker needs to know of its daemon's settings."""

    plugins: tuple[str, ...] = ()
    """The paths of the plugin files, absolute."""
    cache_url: str = ""
    parallel: int = 1
    """How many jobs share the machine's memory."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Why a plugin is not to be loaded, by its key (`prefd.plugins.manager.Plugin.key`)."""
    device: str = "auto"
    """What to compute on: auto, cpu or gpu."""
    rank_timeout: float = 120.0
    """For so many seconds a rank may say nothing."""
    hosts: tuple[Host, ...] = ()
    """The machines that ranks may run on; none where this one is all."""
    hostfile: str = ""
    """The path of the file that lists them, where config.toml names one."""
    backend: Literal["ring", "jaccl", "nccl"] = "ring"
    """What adds gradients up."""
    prevent_sleep: bool = True
    """Whether the machines of ranks are kept awake."""

    @classmethod
    def from_config(cls, config: Config, home: Home, excluded: Mapping[str, str] | None = None) -> HandedSettings:
        """Make those of `config`, with these plugins left out."""
        plugins = tuple(map(str, config.plugin_files(home)))
        ranks = config.distributed
        return cls(
            plugins,
            config.cache_url,
            config.parallel,
            excluded or {},
            config.worker.device,
            ranks.timeout_seconds,
            tuple(ranks.hosts),
            str(home.root / expand_user(ranks.hostfile)) if ranks.hostfile else "",
            ranks.backend,
            config.worker.prevent_sleep,
        )

    @classmethod
    def read(cls, home: Home) -> HandedSettings:
        """Return what the environment hands over, or where it hands nothing, what config.toml says. Raises ConfigError."""
        text = os.environ.get(VARIABLE)
        if text is not None:
            try:
                return ADAPTER.validate_json(text)
            except ValidationError:  # of another version of prefd
                pass
        return cls.from_config(Config.load(home), home)

    @staticmethod
    def are_handed() -> bool:
        """Say whether the environment hands any over."""
        return VARIABLE in os.environ

    @property
    def plugin_files(self) -> list[Path]:
        """Return the paths of the plugin files."""
        return [Path(each) for each in self.plugins]

    def list_hosts(self) -> tuple[Host, ...]:
        """List the machines that ranks may run on, of config.toml or of its hostfile. Raises ConfigError."""
        try:
            hosts = read_hostfile(Path(self.hostfile)) if self.hostfile else self.hosts
            check_hosts(hosts)
        except BadHosts as error:
            raise ConfigError(str(error)) from None
        return hosts

    def environment(self) -> dict[str, str]:
        """Return the variable that hands them over."""
        return {VARIABLE: ADAPTER.dump_json(self).decode()}


ADAPTER = TypeAdapter(HandedSettings)
