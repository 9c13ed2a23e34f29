"""Checks the page: whether prefd was installed with it, and whether it is served where it should be."""

from __future__ import annotations

from collections.abc import Iterator

from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import is_held
from prefd.daemon.home.page_files import REMEDY, PageMissing, read_shell
from prefd.daemon.home.page_record import find_page
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.timing import USUAL, Timing


def check_page(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that the page is there, and says where it is served."""
    try:
        read_shell()
    except PageMissing as error:
        yield HealthFinding("warn", "page", str(error).removesuffix(f": {REMEDY}"), REMEDY)
        return
    if (page := find_page(home)) is not None:
        yield HealthFinding("ok", "page", f"served at {page.address}, by pid {page.pid}")
    elif _is_wanted(home) and is_held(home):
        yield HealthFinding("warn", "page", "config.toml asks for it, and it is not served", "`prefd status` says why")
    else:
        yield HealthFinding("ok", "page", "not served now: `prefd web --open`")


def _is_wanted(home: Home) -> bool:
    """Says whether the daemon is to serve the page; what cannot be read is told by check_config."""
    try:
        return Config.load(home).web.enabled
    except ConfigError:
        return False
