"""Systemd starts the daemon as a unit of the user's on Linux. contrib/systemd/prefd.service has the reason beside each setting."""

from __future__ import annotations

import os
from pathlib import Path

from prefd.daemon.managers.definition import ServiceDefinition
from prefd.daemon.managers.manager import Manager, ask

UNIT = "prefd.service"
TEMPLATE = """\
# prefd as a user service of systemd, written by `prefd service install`: it writes it anew, so settings of your own belong
# into `systemctl --user edit prefd`.

[Unit]
Description=prefd, a preference-tuning daemon
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
{environment}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=3
WatchdogSec=120
TimeoutStartSec=180
TimeoutStopSec={stop_seconds}
KillMode=process
OOMPolicy=continue
LimitNOFILE=8192
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""


class Systemd(Manager):
    """Systemd drives the user's systemd, by `systemctl --user`."""

    name = "systemd"

    @property
    def file(self) -> Path:
        """Return the file of the unit."""
        configs = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return configs / "systemd" / "user" / UNIT

    def write(self, service: ServiceDefinition) -> str:
        """Return the unit."""
        command = " ".join(quote(word).replace("$", "$$") for word in (*service.program, "start", *service.options))
        lines = [f"Environment={quote(f'{name}={value}')}" for name, value in service.environment.items()]
        return TEMPLATE.format(command=command, environment="\n".join(lines), stop_seconds=service.stop_seconds)

    def load(self) -> None:
        """Have systemd read the unit, and start it now and at each login. Raises ServiceError."""
        ask("systemctl", "--user", "daemon-reload")
        ask("systemctl", "--user", "enable", UNIT)
        ask("systemctl", "--user", "restart", UNIT)

    def unload(self) -> None:
        """Stop the unit, and have it started at no login. Raises ServiceError."""
        ask("systemctl", "--user", "disable", "--now", UNIT)

    def describe(self) -> str | None:
        """Return what `systemctl status` says of it; None where it knows no such unit."""
        if not self.file.exists():
            return None
        show = ask("systemctl", "--user", "show", UNIT, "--property", "LoadState,ActiveState,SubState,MainPID,NRestarts,StatusText", may_fail=True)  # fmt: skip
        return show or None


def quote(word: str) -> str:
    """Return a word as a unit has it: in quotes, with systemd's own signs escaped."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{escaped}"'
