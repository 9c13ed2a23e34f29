"""`prefd cache export` and `import` carry scores from one machine to another."""

from __future__ import annotations

from pathlib import Path

import click

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, require_home
from prefd.daemon.commands.shared.references import SHORT, find_cache, pick_references
from prefd.daemon.home.layout import Home
from prefd.daemon.home.own_folders import explain_own_folder
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.wording import pluralize


@click.command(
    epilog="""\b
Examples:
  prefd cache export scores.zip
  prefd cache export scores.zip --reference 3f9a
  prefd cache export scores.zip --json | jq .entries"""
)
@click.argument("out", metavar="OUT.zip", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reference", "prefixes", metavar="PREFIX", multiple=True, help="Only this one; may be given again.")
@json_option
@click.pass_context
def export(ctx: click.Context, out: Path, prefixes: tuple[str, ...], as_json: bool) -> None:
    """Write references to one zip.

    Another machine's prefd takes it with `prefd cache import`. Every value is checked on the way; damaged segments are left out, and the exit code is 1 then. Of a shared cache what the mirror here holds is written, after it has fetched what is new of the same references.
    """
    from prefd.cache.transfer import export_import

    home: Home = ctx.obj
    cache = find_cache(home)
    if cache is None:
        raise Failure("there is nothing to export", Exit.NOT_FOUND)
    if refusal := explain_own_folder(home, out.absolute()):
        raise click.BadParameter(refusal, param_hint="OUT.zip")
    if not out.absolute().parent.is_dir():
        raise Failure(f"there is no folder {out.parent} to write {out.name} to", Exit.NOT_FOUND)
    names = pick_references(cache, prefixes)
    if cache.mirror:
        fetch_new_entries(home, names)
    report = export_import.export(cache, out, names)
    if as_json:
        render.emit_json({"file": str(out), **report.to_json()})
    else:
        amount = f"{pluralize(report.entries, 'completion')} of {pluralize(len(report.references), 'reference')}"
        click.echo(f"wrote {out}: {amount}, {format_size(report.bytes)}")
    for name, reason in report.left_out.items():
        render.print_warning(f"segment {name} was left out: {reason}")
    if report.left_out:
        render.print_note("`prefd cache verify --deep --repair` saves what is whole of it; then export again")
        ctx.exit(Exit.FAILED)


def fetch_new_entries(home: Home, names: list[str]) -> None:
    """Fetches into the mirror what the shared cache has gained of the references `names`."""
    from prefd.cache.upkeep.stored_reference import whole_references
    from prefd.daemon.home.cache import open_cache

    cache = open_cache(home)
    for reference in whole_references(cache):
        if reference.name in names:
            cache.reference(reference.fingerprint)


@click.command(
    "import",
    epilog="""\b
Examples:
  prefd cache import scores.zip
  prefd cache import scores.zip --dry-run
  prefd cache import scores.zip --json | jq .added""",
)
@click.argument("path", metavar="IN.zip", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check it and say what would be added, and add nothing.")
@json_option
@click.pass_obj
def import_(home: Home, path: Path, dry_run: bool, as_json: bool) -> None:
    """Add what an export has and this cache has not.

    Everything in it is checked first; a zip that is damaged, or no export, changes nothing. Whether the numbers are the model's own only the model can tell: see `prefd cache verify --rescore`. Where the cache is shared, what is added is uploaded too.
    """
    from prefd.cache.transfer import export_import
    from prefd.daemon.home.cache import open_cache

    require_home(home)
    if not path.is_file():
        raise Failure(f"there is no file {path}", Exit.NOT_FOUND)
    report = export_import.import_(open_cache(home), path, dry_run=dry_run)
    if as_json:
        render.emit_json({"file": str(path), **report.to_json()})
        return
    verb = "would add" if dry_run else "added"
    remark = f"; {report.entries - report.added:,} were here already" if report.entries > report.added else ""
    names = ", ".join(name[:SHORT] for name in report.references) or "no reference"
    click.echo(f"{verb} {pluralize(report.added, 'completion')} of {names}{remark}")
