"""The pages of the documentation, and what is in them that a test can try: blocks, commands, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md") if (ROOT / name).exists()),
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "contrib").glob("*/README.md")),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    title: str
    """The file that it is to be saved as, where the page says one."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Link:
    """A link of a page, or a picture."""

    page: str
    label: str
    target: str

    def __str__(self) -> str:
        return f"{self.page} → {self.target}"

    @property
    def file(self) -> Path | None:
        """The file of the repository that it leads to, the page itself for an anchor; None for one elsewhere."""
        if "://" in self.target or self.target.startswith("mailto:"):
            return None
        page = ROOT / self.page
        path = self.target.partition("#")[0]
        return (page.parent / path).resolve() if path else page

    @property
    def anchor(self) -> str:
        return self.target.partition("#")[2]


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str, page: str = "") -> list[Block]:
    """Every block in `language`, of one page or of all."""
    return [block for block in _blocks() if block.language == language and page in ("", block.page)]


@cache
def _blocks() -> list[Block]:
    blocks_found = []
    for page in PAGES:
        for token in tokens(page):
            if token.type == "fence":
                language, _, rest = token.info.partition(" ")
                title = re.search(r'title="(.*?)"', rest)
                line = token.map[0] + 1 if token.map else 0
                blocks_found.append(Block(name_of(page), line, language, title[1] if title else "", token.content))
    return blocks_found


def spans() -> list[tuple[str, str]]:
    """(page, text) of every code span."""
    return [(name_of(page), each.content) for page in PAGES for each in _inline(page) if each.type == "code_inline"]


def links() -> list[Link]:
    """Every link and picture."""
    links_found = []
    for page in PAGES:
        opened: list[tuple[str, list[str]]] = []
        for each in _inline(page):
            if each.type == "link_open":
                opened.append((str(each.attrs["href"]), []))
            elif each.type == "link_close":
                target, words = opened.pop()
                links_found.append(Link(name_of(page), "".join(words), target))
            elif each.type == "image":
                links_found.append(Link(name_of(page), each.content, str(each.attrs["src"])))
            elif opened:
                opened[-1][1].append(each.content)
    return links_found


def headings(page: Path) -> list[str]:
    """The text of every heading, without its marks."""
    page_tokens = tokens(page)
    return [
        "".join(each.content for each in inline.children or ())
        for before, inline in pairwise(page_tokens)
        if before.type == "heading_open"
    ]


def _inline(page: Path) -> Iterator[Token]:
    for token in tokens(page):
        yield from token.children or ()
