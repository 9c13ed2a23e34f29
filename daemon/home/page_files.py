"""`read_shell` reads the page as it was built into this installation: by `make page`, or by pip when it built prefd."""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.errors import PrefdError

STATIC = Path(__file__).parent.parent / "page" / "static"
"""The folder of the page: the shell, `index.html`, and its hashed scripts and styles in `assets`."""
REMEDY = "in a checkout `make page` builds it; elsewhere install prefd again where npm's registry can be reached, or from a wheel"


class PageMissing(PrefdError):
    """prefd was installed without its page; the message says how to get it."""

    http_status = 503

    def __init__(self, static: Path) -> None:
        super().__init__(f"prefd was installed without its page, there is no {static / 'index.html'}: {REMEDY}")


def read_shell(static: Path = STATIC) -> str:
    """Read the shell, the one document of the page. Raises PageMissing where the page was not built."""
    try:
        return (static / "index.html").read_text(encoding="utf-8")
    except OSError:
        raise PageMissing(static) from None
