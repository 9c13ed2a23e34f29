"""`prefd cache compact` and `prune` make fewer, larger segments, and room on the disk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import click

from prefd.daemon.commands.shared.completions import REFERENCE
from prefd.daemon.commands.shared.errors import Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.references import (
    SHORT,
    filter_fingerprints,
    find_cache,
    pick_references,
    require_shared,
)
from prefd.daemon.commands.shared.units import duration, size
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_duration
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.cache.upkeep.removals import PruneLimits, PruneReport


@click.command(
    epilog="""\b
Examples:
  prefd cache compact
  prefd cache compact --dry-run
  prefd cache compact --json | jq '.merges[].inputs'"""
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--grace", type=duration, default="1d", show_default=True, metavar="TIME", help="Keep what was merged so long."
)
@json_option
@click.pass_obj
def compact(home: Home, dry_run: bool, grace: float, as_json: bool) -> None:
    """Merge small segments into large ones.

    Jobs go on reading and writing meanwhile. What was merged stays for a day, for readers that have it open; a later compact or prune deletes it. Of a shared cache the mirror here is merged; the next job uploads what came of it, and `prefd cache prune --shared` deletes there what it replaced.
    """
    from prefd.cache.upkeep.compact import compact as merge_small
    from prefd.cache.upkeep.stored_reference import whole_references

    cache = find_cache(home)
    reports = [merge_small(each, grace_s=grace, dry_run=dry_run) for each in whole_references(cache)] if cache else []
    merges = [merge for report in reports for merge in report.merges]
    deleted = [each for report in reports for each in report.deleted]
    disagreements = [each for report in reports for each in report.disagreements]
    if as_json:
        documents = {"merges": [vars(each) for each in merges], "deleted": [vars(each) for each in deleted]}
        documents["disagreements"] = [{"key": each.key.hex(), "nats": each.nats} for each in disagreements]
        render.emit_json({"cache": str(home.cache), "dry_run": dry_run, **documents})
        return
    mood = "would be " if dry_run else ""
    for merge in merges:
        amount = f"{len(merge.inputs)} segments, {pluralize(merge.entries, 'completion')}, {format_size(merge.bytes)}"
        target = f" into {merge.segment}" if merge.segment else ""
        omissions = f"; {merge.dropped:,} duplicate or damaged left out" if merge.dropped else ""
        click.echo(f"{merge.reference[:SHORT]}: {mood}merged{target}: {amount}{omissions}")
    for each in deleted:
        click.echo(f"{each.reference[:SHORT]}: {mood}deleted, {each.why}: {each.segment} ({format_size(each.bytes)})")
    for conflict in disagreements:
        render.print_warning(f"{conflict}; the first stays. Which is wrong: `prefd cache verify --rescore 100%`")
    if cache and not merges and not deleted:
        click.echo("nothing to merge")


@click.command(
    epilog="""\b
Examples:
  prefd cache prune --max-size 2GB
  prefd cache prune --unused-for 30d --dry-run
  prefd cache prune --reference 3f9a
  prefd cache prune --shared --unused-for 90d
  prefd cache prune --max-size 500MB --json | jq .freed"""
)
@click.option("--max-size", type=size, metavar="SIZE", help="Remove the least recently used until it fits.")
@click.option("--unused-for", type=duration, metavar="TIME", help="Remove what no job has read for so long.")
@click.option(
    "--reference",
    "prefix",
    metavar="PREFIX",
    type=REFERENCE,
    help="Remove one reference, by the start of its fingerprint.",
)
@click.option("--shared", is_flag=True, help="Do so in the object store of cache_url, and not here.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
@click.pass_obj
def prune(
    home: Home,
    max_size: int | None,
    unused_for: float | None,
    prefix: str | None,
    shared: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make room, least recently used first.

    What a queued or running job needs is never removed. What killed writers left more than a day ago always is. A job that needs something removed scores it again.

    Of a shared cache the mirror here is pruned, and a job that needs something removed fetches it again. With --shared the object store is: the mirrors that have what goes keep it, and upload it no more. Reads are not noted there, so it is unused since it was put, or last read here.
    """
    if max_size is None and unused_for is None and prefix is None:
        raise click.UsageError("say how far: --max-size 2GB, --unused-for 30d or --reference PREFIX")
    from prefd.cache.upkeep.removals import PruneLimits

    limits = PruneLimits(max_size, unused_for, dry_run=dry_run)
    outcome = prune_shared_cache(home, prefix, limits) if shared else prune_local_cache(home, prefix, limits)
    if outcome is None:
        if as_json:
            render.emit_json({"cache": str(home.cache), "dry_run": dry_run, "removed": [], "freed": 0, "kept": 0})
        return
    place, report, users = outcome
    if as_json:
        render.emit_json({"cache": place, **report.to_json()})
    else:
        show_outcome(report, users, max_size)


PruneOutcome: TypeAlias = "tuple[str, PruneReport, dict[str, list[str]]]"
"""Where, what, and fingerprint → the jobs that need it."""


def prune_local_cache(home: Home, prefix: str | None, limits: PruneLimits) -> PruneOutcome | None:
    """Prunes the cache in the home; None where there is none."""
    from prefd.cache.upkeep.prune import prune
    from prefd.daemon.jobs.needed_references import NeededReferences, list_references
    from prefd.daemon.service.waiting_specs import list_waiting_specs

    cache = find_cache(home)
    if cache is None:
        return None
    reference = None if prefix is None else require_one(pick_references(cache, [prefix]), prefix)
    find_needed = NeededReferences(home, list_references(cache), partial(list_waiting_specs, home))
    return str(home.cache), prune(cache, replace(limits, reference=reference, needed=find_needed)), find_needed()


def prune_shared_cache(home: Home, prefix: str | None, limits: PruneLimits) -> PruneOutcome:
    """Prunes the object store that the home shares."""
    from prefd.cache.shared.bucket_segments import shared_references
    from prefd.cache.shared.prune import prune_shared
    from prefd.daemon.jobs.needed_references import NeededReferences
    from prefd.daemon.service.waiting_specs import list_waiting_specs

    cache = require_shared(home)
    references = cache.bucket.insist(lambda: shared_references(cache))
    reference = None if prefix is None else require_one(filter_fingerprints(list(references), [prefix]), prefix)
    find_needed = NeededReferences(home, references, partial(list_waiting_specs, home))
    limits = replace(limits, reference=reference, needed=find_needed)
    report = cache.bucket.insist(lambda: prune_shared(cache, limits))
    return cache.bucket.url, report, find_needed()


def show_outcome(report: PruneReport, users: dict[str, list[str]], max_size: int | None) -> None:
    """Prints what was removed, what stays because jobs need it, and how much is left."""
    for each in report.removed:
        name = "" if each.reference is None else f"{each.reference[:SHORT]} "
        reason = f"not used for {format_duration(each.unused_s)}" if each.why == "unused" else each.why
        click.echo(f"{name}{each.path.rpartition('/')[2]}: {reason} ({format_size(each.bytes)})")
    for name in report.protected:
        jobs = users.get(name, ["a job that has ended since"])
        render.print_warning(f"{name[:SHORT]} stays: {', '.join(jobs)} {'needs' if len(jobs) == 1 else 'need'} it")
    verb = "would free" if report.dry_run else "freed"
    remainder = f"{format_size(report.kept)} {'would be ' if report.dry_run else ''}left"
    click.echo(f"{verb} {format_size(report.freed)}; {remainder}")
    if max_size is not None and report.kept > max_size:
        render.print_warning(
            f"that is more than {format_size(max_size)}: the rest is needed by jobs, or is the cache's own"
        )


def require_one(names: list[str], prefix: str) -> str:
    """Returns the only fingerprint. Raises `Failure` where `prefix` starts several."""
    if len(names) > 1:
        fingerprints = ", ".join(name[:SHORT] for name in names)
        raise Failure(
            f"{prefix!r} starts {len(names)} fingerprints: {fingerprints}\ngive more of the one that is meant"
        )
    return names[0]
