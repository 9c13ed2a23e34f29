"""`open_page` opens the page in the user's browser, and shows the token to nobody else."""

from __future__ import annotations

import html
import os
import webbrowser

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import PageRecord

DOCUMENT = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={url}"><a href="{url}">prefd</a>\n'
)


def open_page(home: Home, record: PageRecord) -> bool:
    """Open the page by a file that leads there; False where no browser could be started.

    The arguments of a browser are in the list of processes, which every user of the machine may read. So it gets the name of a
    file that only this user may read, and that has the address with the token.
    """
    path = home.run / "open.html"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(DOCUMENT.format(url=html.escape(record.url)))
    return webbrowser.open(path.as_uri())
