"""The option `--web` of the commands that have the daemon serve the page too."""

from __future__ import annotations

import click

from prefd.daemon.home.layout import Home

web_option = click.option(
    "--web",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="",
    help="Serve the page too, at PORT, HOST or HOST:PORT.  [default: as config.toml says]",
)


def choose_page_address(home: Home, text: str) -> tuple[str, int]:
    """Chooses where the page is served: as `text` says, and by config.toml where that says nothing. Raises BadAddress, ConfigError."""
    from prefd.daemon.home.settings import Config
    from prefd.daemon.page.addresses import parse_address

    config = Config.load(home).web
    return parse_address(text, config.host, config.port) if text else (config.host, config.port)
