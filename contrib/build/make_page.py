"""`make page` builds the page of this checkout, with types made from the API; `--check` checks the page's own types too.

Where npm's registry cannot be reached it says so and goes on, as pip's build does; with PREFD_WEB=required it fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import page_build
from page_build import CLIENT, CannotBuild, CommandFailed, Node

from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.api.openapi import build_document
from prefd.daemon.home.layout import Home
from prefd.daemon.page.app import list_endpoints

DOCUMENT = CLIENT / "openapi.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check the types of the page's sources")
    options = parser.parse_args()
    try:
        node = page_build.find_node()
        node.install(development=True)
        write_types(node)
        if options.check:
            node.run(*node.npm, "run", "--silent", "check")
        if not page_build.is_current():
            page_build.bundle(node)
    except CannotBuild as error:
        if os.environ.get("PREFD_WEB") == "required" or isinstance(error, CommandFailed):
            sys.exit(f"error: {error}")
        print(f"the page is not built or checked here: {error}", file=sys.stderr)


def write_types(node: Node) -> None:
    """Write the API's types for the page's sources, where the API has changed."""
    home = Home(Path(tempfile.gettempdir()))
    document = json.dumps(build_document(list_endpoints(home, Hub(home))), indent=1, sort_keys=True)
    types = CLIENT / "src" / "generated" / "api.d.ts"
    if types.exists() and DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == document:
        return
    DOCUMENT.write_text(document, encoding="utf-8")
    types.parent.mkdir(exist_ok=True)
    node.run(*node.npm, "run", "--silent", "types")


if __name__ == "__main__":
    main()
