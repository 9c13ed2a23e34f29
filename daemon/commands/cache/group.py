"""`prefd cache` lists which references have been scored, and how much of each is stored; it holds the other cache commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands import cache as cache_commands
from prefd.daemon.commands.shared.command_folder import CommandFolder
from prefd.daemon.commands.shared.completions import REFERENCE
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, require_home
from prefd.daemon.commands.shared.references import SHORT
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.cache.store import ReferenceInfo


PLACE = HelpPlace(Section.SCORES, 20)


@click.group(
    epilog="""\b
Examples:
  prefd cache ls
  prefd cache explain ipo.yaml              what a job would score
  prefd cache verify --deep                 is it what was written?
  prefd cache prune --max-size 2GB
  prefd cache export scores.zip             take it to another machine"""
)
def cache() -> None:
    """Look into the reference cache, and look after it.

    It holds log-probabilities that were computed once and serve every job.
    """


for command in CommandFolder(cache_commands).commands.values():
    cache.add_command(command)


@cache.command(
    epilog="""\b
Examples:
  prefd cache ls
  prefd cache ls --json | jq '.references[].entries'"""
)
@json_option
@click.pass_obj
def ls(home: Home, as_json: bool) -> None:
    """List the references.

    For each one its model, the completions scored with it, and their size.
    """
    from prefd.daemon.home.cache import read_references

    require_home(home)
    references = read_references(home)
    if as_json:
        render.emit_json({"cache": str(home.cache), "references": [info.to_json() for info in references]})
        return
    if not references:
        render.print_note(f"the cache is empty: {home.cache}")
        return
    rows = [
        (
            info.fingerprint[:SHORT],
            f"{info.entries:,}",
            f"{info.tokens:,}",
            format_size(info.bytes),
            str(info.segments),
            model_name(info) + (f"  [{len(info.damaged)} damaged]" if info.damaged else ""),
        )
        for info in references
    ]
    columns = ["fingerprint", "completions", "tokens", "size", "segments", "model"]
    render.open_stdout().print(render.make_table(columns, rows, right=columns[1:5]))
    if any(info.damaged for info in references):
        render.print_warning("what a damaged segment held is scored again when a job needs it")


@cache.command(
    epilog="""\b
Examples:
  prefd cache show
  prefd cache show 3f9a
  prefd cache show 3f9a --json | jq '.references[0].identity'"""
)
@click.argument("prefix", metavar="[FINGERPRINT-PREFIX]", default="", type=REFERENCE)
@json_option
@click.pass_obj
def show(home: Home, prefix: str, as_json: bool) -> None:
    """Show who a reference is.

    Its identity, where it came from and what is stored; of every reference, or of those whose fingerprint starts so. Every field of the identity changes the numbers: two references that differ in one share nothing.
    """
    from prefd.daemon.home.cache import read_references

    require_home(home)
    matches = [info for info in read_references(home) if info.fingerprint.startswith(prefix.lower())]
    if prefix and not matches:
        raise Failure(f"no reference's fingerprint starts with {prefix!r}\nsee `prefd cache ls`", Exit.NOT_FOUND)
    if as_json:
        render.emit_json({"cache": str(home.cache), "references": [info.to_json() for info in matches]})
        return
    if not matches:
        render.print_note(f"the cache is empty: {home.cache}")
        return
    console = render.open_stdout()
    for number, info in enumerate(matches):
        if number:
            console.print()
        console.print(render.make_facts(reference_facts(info)))


def model_name(info: ReferenceInfo) -> str:
    """Returns the model as it was named, or its folder's name: the full path is in `cache show`."""
    model = str(info.provenance.get("model") or "?")
    return Path(model).name if Path(model).is_absolute() else model


def reference_facts(info: ReferenceInfo) -> list[tuple[str, str]]:
    """Lists all there is to know of a reference, as names and values."""
    amount = f"{pluralize(info.entries, 'completion')}, {pluralize(info.tokens, 'token')}"
    size = f"{format_size(info.bytes)} in {pluralize(info.segments, 'segment')}"
    lines = [("fingerprint", info.fingerprint), ("holds", f"{amount}, {size}")]
    lines += [("damaged", damage) for damage in info.damaged]
    for title, fields in (("identity", info.identity), ("provenance", info.provenance)):
        for number, (name, value) in enumerate(sorted(fields.items())):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append((title if number == 0 else "", f"{name}: {text}"))
    return lines
