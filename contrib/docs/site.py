"""Build the documentation site: `python contrib/docs/site.py`, into build/site.

The pages link to the source files that they speak of, with paths that hold in a clone. A site generator takes pages from one
folder only. So the pages are first copied to build/docs together with every file that they link to: Markdown as it is, code as
a page with a heading for each definition. A link whose text names a definition leads to that heading. Costs: a copy of some
hundred small files a build.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
STAGED = ROOT / "build" / "docs"
LINK = re.compile(r"`[^`]*`|(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
"""A link, its text and its target; or a code span, in which there are none."""
COG = re.compile(r"<!-- \[\[\[cog.*?\]\]\] -->\n|<!-- \[\[\[end\]\]\] -->\n", re.DOTALL)
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE)
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".sh": "sh", "Makefile": "make", ".plist": "xml"}


def stage() -> list[Path]:
    """Copy the pages and what they link to into STAGED; the copies of pages."""
    shutil.rmtree(STAGED, ignore_errors=True)
    shutil.copytree(DOCS, STAGED)
    staged: dict[Path, Path] = {}
    waiting = sorted(DOCS.rglob("*.md"))
    while waiting:
        source = waiting.pop()
        if source in staged:
            continue
        target = staged[source] = _target(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix != ".md":
            target.write_text(code_page(source), encoding="utf-8")
            continue
        text = COG.sub("", source.read_text(encoding="utf-8"))
        for file in _linked_files(text, source):
            waiting.append(file)
        target.write_text(rewrite_links(text, source), encoding="utf-8")
    return sorted(staged.values())


def _target(source: Path) -> Path:
    """Where a file of the repository is in the site's pages."""
    if source.is_relative_to(DOCS):
        return STAGED / source.relative_to(DOCS)
    path = STAGED / "source" / source.relative_to(ROOT)
    return path if source.suffix == ".md" else path.with_name(f"{path.name}.md")


def _linked_files(text: str, source: Path) -> Iterator[Path]:
    for match in LINK.finditer(FENCE.sub("", text)):
        if (file := _file_of(match[2], source)) is not None:
            yield file


def _file_of(link: str | None, source: Path) -> Path | None:
    """The file of the repository that a link of `source` leads to; None for a link elsewhere or within the page."""
    path = (link or "").partition("#")[0]
    if link is None or not path or "://" in link:
        return None
    file = (source.parent / path).resolve()
    if not file.is_file():
        raise SystemExit(f"{source.relative_to(ROOT)}: {link} is not there, or is a folder; link to a file")
    return file


def rewrite_links(text: str, source: Path) -> str:
    """`text` of the page `source` with its links as they are in the site; code blocks stay as they are."""

    def rewritten(match: re.Match[str]) -> str:
        file = _file_of(match[2], source)
        if file is None:
            return match[0]
        path = os.path.relpath(_target(file), _target(source).parent)
        _, mark, anchor = match[2].partition("#")
        if file.suffix == ".py" and (heading := _heading(match[1], file)):
            mark, anchor = "#", heading
        return f"[{match[1]}]({path}{mark}{anchor})"

    parts: list[str] = []
    end = 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(rewritten, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(rewritten, text[end:])])


def _heading(label: str, file: Path) -> str | None:
    """The heading of the definition that a link's text names, such as `Trainer.step`."""
    name = label.strip("`").removesuffix("()").partition(".")[0]
    return name if name in {each for each, _, _ in definitions(file.read_text(encoding="utf-8"))} else None


def definitions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, first line, last line) of each top-level class, function and assignment of Python source."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            begin = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield node.name, begin, node.end_lineno or begin


def code_page(source: Path) -> str:
    """A page that shows a source file, Python with a heading for each definition."""
    text = source.read_text(encoding="utf-8")
    language = LANGUAGES.get(source.suffix, LANGUAGES.get(source.name, "text"))
    page = f"# `{source.relative_to(ROOT)}`\n\n"
    if language != "python":
        return page + _block(text, language)
    lines = text.splitlines()
    end = 0
    for name, begin, last in definitions(text):
        page += _block("\n".join(lines[end : begin - 1]), language)
        page += f"## `{name}` {{ #{name} }}\n\n" + _block("\n".join(lines[begin - 1 : last]), language)
        end = last
    return page + _block("\n".join(lines[end:]), language)


def _block(text: str, language: str) -> str:
    return f"~~~~~{language}\n{text.strip(chr(10))}\n~~~~~\n\n" if text.strip() else ""


def main() -> int:
    """Stage the pages and build them strictly: a broken link or anchor ends it with an error."""
    pages = stage()
    print(f"{len(pages)} pages staged in {STAGED.relative_to(ROOT)}")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", "zensical.toml"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
