"""Word finds what a shell offers at <TAB> (jobs, losses, groups, references) in files, so that it is quick and needs no daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import ENDED, UNENDED, WAITING, State
from prefd.daemon.text.number_ranges import Numbers, parse_number, parse_numbers
from prefd.daemon.text.wording import clip, compose

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Job

    ParamType = click.ParamType[Any]
else:  # generic in the newest click only
    ParamType = click.ParamType

Offer = tuple[str, str]
"""A value, and what it is in a few words."""

MOST = 200  # jobs, the newest first: nobody reads more, and a shell asks before it shows them
SHORT = 12  # of a fingerprint


class Word(ParamType):
    """Word is an argument that the shell can complete with what `offers` finds in the home."""

    name = "text"

    def __init__(self, offers: Callable[[Home], Iterable[Offer]]) -> None:
        self.offers = offers

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Composes its accents, as names are kept."""
        return compose(value) if isinstance(value, str) else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Returns the offers that begin with what is typed and are not on the line already."""
        value_so_far = ctx.params.get(param.name or "")
        typed_values = {str(each) for each in value_so_far} if isinstance(value_so_far, tuple | list) else set()
        try:
            offers = list(self.offers(find_home(ctx)))
        except Exception:  # noqa: BLE001  # a message in the middle of a line that is being typed helps nobody
            return []
        return [
            CompletionItem(value, help=description)
            for value, description in offers
            if value.startswith(incomplete) and value not in typed_values
        ]


class GroupName(Word):
    """GroupName is the group of the jobs that a command is to choose."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuses the empty name that a shell makes of a variable which is not set: it would choose every job without a group."""
        if value == "":
            self.fail("the name is empty; is it a variable that is not set?", param, ctx)
        return super().convert(value, param, ctx)


class JobId(Word):
    """JobId is a job's number; completed with the jobs that are in one of `states`, the newest first."""

    name = "integer"

    def __init__(self, *states: State) -> None:
        super().__init__(
            lambda home: ((str(job.id), f"{clip(job.name, 40)} ({job.state})") for job in jobs(home, *states))
        )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Converts the number, refusing what no job can have: SQLite's numbers have 64 bits."""
        if isinstance(value, int):
            return value
        try:
            return parse_number(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class JobNumbers(JobId):
    """JobNumbers is a list of jobs' numbers, such as `1-3,7`; completed as a number is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Converts the list to Numbers."""
        if isinstance(value, Numbers):
            return value
        try:
            return parse_numbers(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def find_home(ctx: click.Context) -> Home:
    """Returns the home that the line being completed is about: its --home is read, but no command has run."""
    return Home.locate(ctx.find_root().params.get("home"))


def jobs(home: Home, *states: State) -> list[Job]:
    """Lists the home's newest jobs in one of `states`, the newest first."""
    from prefd.daemon.jobs.table import JobTable

    if not home.database.exists():
        return []
    with JobTable.open_readonly(home.database) as table:
        newest = table.list(*states)
    return newest[: -MOST - 1 : -1]


def groups(home: Home) -> list[Offer]:
    """Lists the groups of the newest jobs."""
    counts: dict[str, int] = {}
    for job in jobs(home):
        counts[job.group] = counts.get(job.group, 0) + 1
    return [(name, f"{count} of the newest jobs") for name, count in counts.items() if name]


def losses(home: Home) -> list[Offer]:
    """Lists the losses that this home had when they were last listed: listing them takes a process that imports mlx."""
    from prefd.daemon.specs.kept_catalog import read_loss_names

    return sorted(read_loss_names(home).items())


def references(home: Home) -> list[Offer]:
    """Lists the references in the cache, by the start of their fingerprints."""
    import json

    offers = []
    for folder in sorted((home.cache / "refs").glob("[!.]*")):
        model = ""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            attributes = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]
            model = clip(str(attributes["provenance"]["model"]).rpartition("/")[2])
        offers.append((folder.name[:SHORT], model))
    return offers


JOB = JobId()
ACTIVE_JOB = JobId(*UNENDED)
PAUSED_JOB = JobId("paused")
ENDED_JOB = JobId(*ENDED)
JOBS = JobNumbers()
ACTIVE_JOBS = JobNumbers(*UNENDED)
WAITING_JOBS = JobNumbers(*WAITING)
PAUSED_JOBS = JobNumbers("paused")
ENDED_JOBS = JobNumbers(*ENDED)
LOSS = Word(losses)
GROUP = GroupName(groups)
REFERENCE = Word(references)
