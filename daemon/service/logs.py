"""`start_logging` sets up the daemon's log: a line a record for people, or a JSON object a line for machines.

All modules of the daemon log with the standard library; the formatters here decide what a record becomes. A record about a
job has its number in `extra={"job": …}`, and so in a field of its own. Names come from strangers: control characters are
escaped, and only a record starts at the margin of a line, so no name can forge one.

In the foreground the log goes to stderr, which the journal or a container keeps. With `--detach` or `--log-to-file` it
goes to `<home>/daemon.log`, rotated by size, and so does all else that the process writes: a crash's last words too.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from prefd.daemon.home.settings import LogConfig

SEVERITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""The severities of syslog by level, as the journal reads them at the start of a line."""


def start_logging(config: LogConfig, file: Path | None) -> None:
    """Send the log from now on to `file`, rotated, or to stderr where there is none."""
    journal = file is None and logs_to_journal()
    formatter = JsonFormatter() if config.format == "json" else TextFormatter(timestamps=not journal)
    handler = logging.StreamHandler() if file is None else LogFile(file, config.max_bytes, config.keep)
    handler.setFormatter(Severities(formatter) if journal else formatter)
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each change of the folder
    logging.captureWarnings(True)
    faulthandler.enable(2)  # where every thread stood, when it crashes or its watchdog ends it


def logs_to_journal() -> bool:
    """Return whether stderr is systemd's journal, which adds the time itself."""
    with suppress(OSError, ValueError):
        info = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"
    return False


def printable(line: str) -> str:
    """Escape the characters of `line` that are not printable: control characters, surrogates, changes of direction."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


class TextFormatter(logging.Formatter):
    """Formats a record as `2026-11-22 07:14:22 INFO job 3 queued: …`, its further lines indented."""

    def __init__(self, timestamps: bool) -> None:
        super().__init__()
        self.timestamps = timestamps

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines, escaped."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        first, *further_lines = (printable(line) for line in text.split("\n"))
        moment = f"{datetime.fromtimestamp(record.created):%Y-%m-%d %H:%M:%S} " if self.timestamps else ""
        return "\n".join([f"{moment}{record.levelname} {first}", *(f"    {line}" for line in further_lines)])


class JsonFormatter(logging.Formatter):
    """Formats a record as an object of "time", "level", "event", "message", "logger", and where there is one, "job", "traceback".

    `event` is the message without its values, the same for every record of its kind.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON in one line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, str | int] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": str(record.msg),
            "message": record.getMessage(),
            "logger": record.name,
        }
        if (job_id := getattr(record, "job", None)) is not None:  # what `extra` had
            fields["job"] = job_id
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # ASCII: a lone surrogate is escaped like all else


class Severities(logging.Formatter):
    """Puts its severity, as the journal reads it, before each line of another formatter."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the inner formatter's lines, each with its severity."""
        severity = SEVERITIES.get(record.levelno, 6)
        return "\n".join(f"<{severity}>{line}" for line in self.inner.format(record).split("\n"))


class LogFile(RotatingFileHandler):
    """LogFile is a log of bounded size that outlives a full disk: records are lost then, and a later one says how many.

    It points stdout and stderr at its file, so that their output lands in the same file after a rotation too.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.lost = 0
        super().__init__(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, and how many before it were lost."""
        lost = self.lost
        super().emit(record)
        if lost and lost == self.lost:
            self.lost = 0
            message = "%d records before this one could not be written: was the disk full?"
            super().emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (lost,), None))

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        """Begin again with the next record: a stream that could not be flushed stays broken."""
        self.lost += 1
        stream, self.stream = self.stream, None  # as logging itself does
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()
