"""Config holds the daemon's own settings, `<home>/config.toml`: parsed once, frozen, every key with a default."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.hosts import Host
from prefd.daemon.home.layout import Home, explain_dangling
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.files import expand_user
from prefd.daemon.text.parse import parse
from prefd.daemon.text.parsed import MAX_BYTES, ParseError
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.strict_model import SpecModel, refuse
from prefd.daemon.text.validation_faults import explain_faults
from prefd.daemon.text.wording import compose


class ConfigError(PrefdError):
    """config.toml cannot be used. The message, for its editor, names the file, the field and the remedy."""


class WatchConfig(SpecModel):
    """WatchConfig says how the watched folder is looked at: `[watch]` in config.toml."""

    settle_seconds: float = Field(
        0.5,
        gt=0,
        description="a dropped file is complete when unchanged for this long (macOS: 1.0, network mounts: 3.0)",
    )
    rescan_seconds: float = Field(5.0, gt=0, description="look at jobs/ at least this often, events or not")
    polling: bool = Field(False, description="poll instead of waiting for events; network mounts are polled anyway")


class LogConfig(SpecModel):
    """LogConfig says what is logged and how: `[log]` in config.toml."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is less than this is left out"
    )
    format: Literal["text", "json"] = Field("text", description="json: one object a line, for machines")
    max_bytes: int = Field(10_000_000, ge=1000, description="daemon.log is set aside, as daemon.log.1, at this size")
    keep: int = Field(3, ge=1, le=100, description="and so many earlier ones are kept")


class NotifyConfig(SpecModel):
    """NotifyConfig names the command that is run when a job has ended: `[notify]` in config.toml."""

    desktop: bool = Field(False, description="show a notification on the desktop, by osascript or notify-send")
    command: list[str] = Field([], description="a program and its arguments, run when a job has ended; no shell")
    timeout_seconds: float = Field(60.0, gt=0, description="it is ended when it takes longer")


class WebConfig(SpecModel):
    """WebConfig says where the page is served: `[web]` in config.toml."""

    enabled: bool = Field(False, description="serve the page with the daemon, as `prefd start --web` does")
    host: str = Field(
        "127.0.0.1", min_length=1, description="the address; another than this reaches beyond this machine"
    )
    port: int = Field(8377, ge=1, le=65535, description="the port; another home's page needs another")
    allowed_hosts: list[str] = Field(
        [], description="further names that browsers may ask for the page by: box.example:443"
    )


class ServeConfig(SpecModel):
    """ServeConfig says what Tinker clients may train, and where they are answered: `[serve]` in config.toml."""

    enabled: bool = Field(False, description="serve Tinker clients with the daemon, as `prefd serve` does")
    host: Literal["127.0.0.1", "::1"] = Field("127.0.0.1", description="the address; only this machine reaches it")
    port: int = Field(8378, ge=1, le=65535, description="the port; another home's needs another")
    models: dict[str, str] = Field(
        {}, description="what clients may train, by the name they ask for: a model folder, or a hub id"
    )
    release_seconds: float = Field(
        30.0,
        ge=15,
        description="a client's models are released when it was not heard of for this long; its heartbeats come every 10",
    )

    @field_validator("models")
    @classmethod
    def check_models(cls, value: dict[str, str]) -> dict[str, str]:
        """Refuses names that clients cannot ask for, and models without a place."""
        for name, model in value.items():
            if not name.strip() or not name.isprintable() or len(name) > 200 or not model.strip():
                raise ValueError(
                    f"each model has a name of one line and a folder or a hub id, got {name!r} = {model!r}"
                )
        return value


class ReportConfig(SpecModel):
    """ReportConfig says where jobs are reported to: `[report]` in config.toml."""

    to: list[str] = Field(
        [], description="tools that every job is reported to, unless its spec says otherwise: trackio"
    )
    project: str = Field("prefd", min_length=1, description="what the project is called there")


class DistributedConfig(SpecModel):
    """DistributedConfig is about jobs of several ranks: `[distributed]` in config.toml."""

    timeout_seconds: float = Field(
        120.0,
        gt=0,
        description="a rank that says nothing for so long is lost: its job goes on without it, or from where it stood",
    )
    hosts: list[Host] = Field(
        [], description='machines that `ranks` spans, this one first: {ssh = "studio-2", ips = ["192.168.1.11"]}'
    )
    hostfile: str = Field(
        "", description="or a file that lists them, as mlx.distributed_config writes it, relative to this folder"
    )
    backend: Literal["ring", "jaccl", "nccl"] = Field(
        "ring", description="what adds gradients up; jaccl and nccl were never tried"
    )

    @model_validator(mode="after")
    def require_one_list(self) -> Self:
        """Refuse two lists of hosts."""
        if self.hosts and self.hostfile:
            refuse([(("hostfile",), "hosts are listed already; leave one of the two out", self.hostfile)])
        return self


Count = Annotated[int, Field(ge=1)]


class Config(SpecModel):
    """Config holds all settings of a daemon."""

    plugins: list[str] = Field(
        [], description="Python files with losses, row formats or reporters, relative to this folder"
    )
    cache_url: str = Field("", description="share the cache with other machines through here: s3://bucket/prefix")
    stop_grace_seconds: float = Field(60.0, ge=0, description="a worker has this long to save its state when stopped")
    parallel: int = Field(1, ge=1, description="jobs run at a time; their models share this machine's memory")
    groups: dict[str, Count] = Field({}, description="and at most so many of a group, by its name")
    watch: WatchConfig = WatchConfig()
    worker: WorkerLimits = WorkerLimits()
    log: LogConfig = LogConfig()
    notify: NotifyConfig = NotifyConfig()
    web: WebConfig = WebConfig()
    serve: ServeConfig = ServeConfig()
    distributed: DistributedConfig = DistributedConfig()
    report: ReportConfig = ReportConfig()

    @field_validator("groups")
    @classmethod
    def compose_groups(cls, value: dict[str, int]) -> dict[str, int]:
        """Composes the accents of groups' names, as specs' are."""
        return {compose(name): count for name, count in value.items()}

    @classmethod
    def load(cls, home: Home) -> Config:
        """Read the settings in `home.config`, or the defaults where there is no such file. Raises ConfigError."""
        try:
            data = _read(home.config)
        except FileNotFoundError:
            if (problem := explain_dangling(home.config)) is not None:
                raise ConfigError(problem) from None
            return cls()
        except OSError as error:
            raise ConfigError(f"{home.config}: {error.strerror or error}") from None
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{home.config}: larger than {format_size(MAX_BYTES)}: is it another file?")
        if not data.strip():
            return cls()
        try:
            parsed = parse(data, ".toml")
            return cls.model_validate(parsed.value)
        except ParseError as error:
            raise ConfigError(f"{home.config}: {error}") from None
        except ValidationError as error:
            faults = explain_faults(error, cls, parsed.value, parsed.positions)
            raise ConfigError("\n".join(f"{home.config}: {fault}" for fault in faults)) from None

    @staticmethod
    def template() -> str:
        """Return the file that `prefd init` writes: every setting, commented out, with its default and description."""
        lines = ["# The daemon's own settings. Every line that starts with `# name =` shows a default.", ""]
        lines += _settings(Config)
        for name, field in Config.model_fields.items():
            if isinstance(section := field.default, SpecModel):
                lines += [f"[{name}]", *_settings(type(section))]
        return "\n".join(lines).rstrip() + "\n"

    def plugin_files(self, home: Home) -> list[Path]:
        """Return the paths in `plugins`, made absolute from the home."""
        return [home.root / expand_user(name) for name in self.plugins]


def _read(path: Path) -> bytes:
    """Read as much of the file as it may have; a pipe is not waited for, which would hold the daemon up. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, and no file")
        return file.read(MAX_BYTES + 1)


def _settings(model: type[SpecModel]) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if not isinstance(field.default, SpecModel):
            default = str(field.default).lower() if isinstance(field.default, bool) else repr(field.default)
            lines += [f"# {field.description}", f"# {name} = {default}", ""]
    return lines
