"""`read_line_file` reads a text file that a person wrote, one thing a line."""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.worker.data.rows import DataError


def read_line_file(path: Path, key: str, most_bytes: int, kind: str, content: str) -> list[str]:
    """Reads the lines of `path`, the file of the setting `key`, with or without the mark that Windows' editors begin a file with.

    `kind` says what file it should be, as "a list of pairs", and `content` what to write in it. Raises `DataError` for a file that
    is too large, not text, or cannot be read.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise DataError(f"{key}: {path} has more than {most_bytes >> 20} MiB: is it {kind}?")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{key}: {path} is no text in UTF-8; write {content} a line") from None
    except OSError as error:
        raise DataError(f"{key}: {path}: {error.strerror or error}") from error
