"""`prefd cache verify`: is the cache still what was written into it, and is that what the models give?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import REFERENCE
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.references import SHORT, ask_worker, find_cache, need_shared, pick
from prefd.daemon.commands.shared.units import Sample, duration, sample
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.cache.store import ReferenceCache
    from prefd.cache.upkeep.verify import Damage, Repair, VerifyReport
    from prefd.daemon.specs.job_spec import JobSpec
    from prefd.daemon.worker_tasks.answers import Rescored, WrongValue

SHOWN_WRONG = 10


@click.command(
    epilog="""\b
Examples:
  prefd cache verify
  prefd cache verify --deep --max-duration 10m
  prefd cache verify --deep --repair
  prefd cache verify --rescore 5%
  prefd cache verify --rescore 200 --spec ipo.yaml
  prefd cache verify --shared --repair      the object store, and not its mirror here
  prefd cache verify --json | jq '.damage[].what'"""
)
@click.option("--deep", is_flag=True, help="Read every log-probability too, against its own checksum.")
@click.option("--repair", is_flag=True, help="Quarantine what is damaged, and save what is whole of it.")
@click.option("--rescore", type=sample, metavar="N|P%", help="Score so many again with the model, and compare.")
@click.option("--spec", metavar="SPEC", type=click.Path(path_type=Path), help="Draw them from this spec's pairs.")
@click.option(
    "--reference", "prefix", metavar="PREFIX", default="", type=REFERENCE, help="Only where the fingerprint starts so."
)
@click.option(
    "--max-duration", type=duration, metavar="TIME", help="Stop after 90s, 10m or 2h, and say how far it came."
)
@click.option("--shared", is_flag=True, help="Fetch and check what the object store of cache_url has.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    deep: bool,
    repair: bool,
    rescore: Sample | None,
    spec: Path | None,
    prefix: str,
    max_duration: float | None,
    shared: bool,
    as_json: bool,
) -> None:
    """Check the cache; exit code 1 when something is wrong.

    Every file's structure and checksums; with --deep every value's too; with --rescore a random sample is scored again by the model. The sample is drawn from the pairs of the newest job that used the reference, or of --spec. Nothing is changed without --repair. What is lost is scored again by the next job that needs it.

    Of a shared cache the mirror here is checked; --repair puts the object store's whole copy in the place of what is damaged, and takes out there too what --rescore finds wrong. With --shared every byte of the object store is fetched and checked; --repair deletes what is damaged, and uploads it again from here where it is whole.
    """
    from prefd.cache.upkeep import verify as checks
    from prefd.daemon.home.cache import open_cache

    home: Home = ctx.obj
    if spec is not None and rescore is None:
        raise click.UsageError("--spec says what --rescore draws from; give --rescore too")
    deadline = None if max_duration is None else time.monotonic() + max_duration
    if shared:
        if rescore is not None:
            raise click.UsageError("--rescore is about the cache here; leave out --shared")
        verify_there(ctx, repair, prefix, deadline, as_json)
        return
    cache = find_cache(home)
    if cache is None:
        if as_json:
            render.emit_json({"cache": str(home.cache), "references": 0, "ok": True, "damage": []})
        return
    if prefix:
        pick(cache, [prefix])
    report = checks.verify(cache, deep=deep, deadline=deadline, prefix=prefix.lower())
    if repair:
        cache = open_cache(home)  # where the cache is shared: what has whole copies
    repairs = checks.repair(cache, report.damage) if repair else []
    rescored = [] if rescore is None else list(score_again(home, cache, rescore, spec, prefix, deadline))
    wrong = [(each.fingerprint, value) for each in rescored if each.answer for value in each.answer.wrong]
    evicted = evict(cache, wrong) if repair else []
    if as_json:
        document = report.to_json() | {"ok": report.ok and not wrong, "cache": str(home.cache)}
        render.emit_json(
            document
            | {
                "rescored": [each.to_json() for each in rescored],
                "repairs": [vars(each) for each in repairs],
                "evicted": evicted,
            }
        )
    else:
        show(report, repairs)
        show_rescored(rescored, evicted)
    if not report.ok or wrong:
        ctx.exit(Exit.FAILED)


@dataclass(frozen=True)
class Rescoring:
    """Whether the values of one reference are those that its model gives: a worker's answer, or why there is none."""

    fingerprint: str
    answer: Rescored | None = None
    error: str | None = None
    job_id: int | None = None
    """The job whose pairs were taken; None for those of `--spec`, or of no job."""

    def to_json(self) -> dict[str, Any]:
        job = {} if self.job_id is None else {"job": self.job_id}
        if self.answer is not None:
            return self.answer.to_json() | job
        return {"fingerprint": self.fingerprint, **job, "error": self.error}


def score_again(
    home: Home, cache: ReferenceCache, amount: Sample, spec_path: Path | None, prefix: str, deadline: float | None
) -> Iterator[Rescoring]:
    """What came of each reference."""
    from prefd.daemon.commands.validate import check_spec
    from prefd.daemon.jobs.needed_references import list_newest_uses

    if spec_path is not None:
        answer = ask(home, check_spec(home, spec_path), amount, deadline)
        yield Rescoring(answer.fingerprint, answer)
        return
    uses = list_newest_uses(home)
    for name in pick(cache, [prefix]):
        if name not in uses:
            yield Rescoring(name, error="no job of this home has used it; name one's spec with --spec")
            continue
        use = uses[name]
        try:
            answer = ask(home, use.spec, amount, deadline, name, use.commits)
        except Failure as error:
            yield Rescoring(name, error=error.message, job_id=use.job_id)
        else:
            yield Rescoring(name, answer, job_id=use.job_id)


def ask(
    home: Home,
    spec: JobSpec,
    amount: Sample,
    deadline: float | None,
    fingerprint: str | None = None,
    commits: Mapping[str, str] | None = None,
) -> Rescored:
    """A worker's answer about the pairs of `spec`, its hub datasets read at `commits`."""
    from prefd.daemon.worker_tasks.answers import Rescored
    from prefd.daemon.worker_tasks.inputs import RescoreInput

    seconds = None if deadline is None else deadline - time.monotonic()
    if seconds is not None and seconds <= 0:
        raise Failure("the time was up before any was scored")
    request = RescoreInput(
        spec=spec,
        sample=amount.amount,
        percent=amount.percent,
        fingerprint=fingerprint,
        commits=commits or {},
        seconds=seconds,
    )
    return ask_worker(home, "rescore", request, Rescored)


def evict(cache: ReferenceCache, wrong: list[tuple[str, WrongValue]]) -> list[str]:
    """Quarantine the segments that serve wrong values, less the rest of their entries; their ids."""
    from prefd.cache.upkeep import rescue
    from prefd.cache.upkeep.stored_reference import whole_references

    gone = []
    for reference in whole_references(cache):
        if keys := [bytes.fromhex(value.key) for name, value in wrong if name == reference.name]:
            gone += rescue.evict(cache, reference, keys)
    return gone


def verify_there(ctx: click.Context, repair: bool, prefix: str, deadline: float | None, as_json: bool) -> None:
    from prefd.cache.shared.verify import verify_shared

    cache = need_shared(ctx.obj)
    report = cache.bucket.insist(lambda: verify_shared(cache, repair=repair, deadline=deadline, prefix=prefix.lower()))
    if as_json:
        render.emit_json({"cache": cache.bucket.url, "ok": not report.damage, **asdict(report)})
    else:
        complete = report.segments == report.segments_total
        checked = pluralize(report.segments, "segment")
        of = "" if complete else f" of {report.segments_total:,} in the time given"
        click.echo(f"fetched and checked {checked}{of}: {format_size(report.bytes)}")
        for each in report.damage:
            click.echo(f"damaged {each.reference[:SHORT]} {each.segment}\n  {each.what}")
        for name in report.uploaded:
            click.echo(f"repaired {name}: uploaded again from here")
        for name in report.deleted:
            click.echo(f"repaired {name}: deleted; who has it whole uploads it again, or the next job scores it")
        if not report.damage:
            click.echo("nothing is wrong" if complete else "nothing wrong so far")
    if report.damage:
        ctx.exit(Exit.FAILED)


def show(report: VerifyReport, repairs: list[Repair]) -> None:
    parts = pluralize(report.segments, "segment")
    if not report.complete:
        parts = f"{report.segments:,} of {pluralize(report.segments_total, 'segment')} in the time given"
    what = "every value" if report.deep else "all but the values (--deep)"
    amount = f"{pluralize(report.entries, 'completion')}, {format_size(report.bytes)}"
    click.echo(f"checked {parts} of {pluralize(report.references, 'reference')}: {amount}; {what}")
    for each in report.damage:
        click.echo(f"damaged {each.reference[:SHORT]} {each.segment or 'zarr.json'}: {consequence(each)}")
        click.echo(f"  {each.what}")
    for name, conflict in report.disagreements:
        click.echo(f"differs {name[:SHORT]} {conflict}; which is wrong: --rescore 100%")
    for fix in repairs:
        saved = f"{pluralize(fix.rescued, 'completion')} saved, the rest" if fix.rescued else "moved"
        if fix.fetched:
            saved = "a whole copy was fetched, the damaged one moved"
        click.echo(f"repaired {fix.reference[:SHORT]} {fix.segment or 'zarr.json'}: {saved} to {fix.moved_to}")
    for kind, meaning in STRAYS.items():
        found = [each for each in report.strays if each.kind == kind]
        if found:
            size = format_size(sum(each.bytes for each in found))
            render.note(f"{meaning}: {len(found):,}, {size}, such as {found[0].path}")
    if report.ok:
        click.echo("nothing is wrong" if report.complete else "nothing wrong so far")
    elif report.damage and not repairs:
        render.note("`prefd cache verify --repair` (with --deep if that found it) saves what is whole")


STRAYS = {
    "strange": "no part of a cache",
    "unfinished": "being written, or left by a killed writer (`prefd cache prune` removes what is a day old)",
    "quarantined": "in quarantine (`prefd cache prune` removes it)",
}


def consequence(damage: Damage) -> str:
    if damage.segment is None:
        return "the next job that needs this reference writes it again"
    lost = "nothing says how many" if damage.to_score is None else pluralize(damage.to_score, "completion")
    saved = f", {damage.rescuable:,} can be saved" if damage.rescuable else ""
    return f"{lost} to be scored again{saved}"


def show_rescored(rescored: list[Rescoring], evicted: list[str]) -> None:
    for each in rescored:
        name = each.fingerprint[:SHORT]
        answer = each.answer
        if answer is None:
            render.warn(f"{name} was not scored again: {each.error}")
            continue
        apart = f"mean difference {answer.mean:.2g}, largest {answer.max:.2g} nats a token"
        click.echo(
            f"scored {answer.checked:,} of {answer.cached:,} again for {name}: {apart} (tolerance {answer.tolerance:g})"
        )
        for value in answer.wrong[:SHOWN_WRONG]:
            click.echo(f"  wrong: {value.place} of {answer.data}, by {value.mean:.2g} on average")
        if len(answer.wrong) > SHOWN_WRONG:
            click.echo(f"  and {len(answer.wrong) - SHOWN_WRONG} more")
        if answer.wrong and not evicted:
            render.note("with --repair they are taken out, and scored again by the next job that needs them")
    if evicted:
        click.echo(f"took the wrong values out of {pluralize(len(evicted), 'segment')}")
