"""JobSelection is which jobs a command is to act on: numbers and ranges, groups, states, or all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prefd.daemon.commands.shared.completions import GROUP, JobNumbers
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import read_jobs
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import STATES
from prefd.daemon.terminal import render
from prefd.daemon.text.number_ranges import Numbers
from prefd.daemon.text.wording import list_numbers

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Brief, Job

F = TypeVar("F", bound=Callable[..., Any])


def require_ended(job: Job) -> None:
    """Raises `Failure` for a job whose model is still to be trained."""
    if not job.ended:
        raise Failure(f"job {job.id} ({job.name}) is {job.state}: its model can be written when it is done")


@dataclass(frozen=True)
class JobSelection:
    """JobSelection holds what was said of the jobs to act on."""

    numbers: tuple[Numbers, ...] = ()
    groups: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    everything: bool = False

    @property
    def is_set(self) -> bool:
        """Says whether anything was said."""
        return bool(self.numbers or self.groups or self.states or self.everything)

    @property
    def narrowed(self) -> bool:
        """Says whether it is about certain jobs, and not about all."""
        return bool(self.numbers or self.groups or self.states)


def selection_options(numbers: JobNumbers, everything: str, required: bool = True) -> Callable[[F], F]:
    """Adds the arguments and options of a JobSelection to a command, which gets it as `selection`.

    `everything`: the help of `--all`. `required`: whether something must be said.
    """

    def add(command: F) -> F:
        @functools.wraps(command)
        def run(*arguments: Any, job_ids: Any, groups: Any, states: Any, everything: bool, **options: Any) -> Any:
            selection = JobSelection(job_ids, groups, states, everything)
            check_selection(selection, required)
            return command(*arguments, selection=selection, **options)

        run = click.option("--all", "everything", is_flag=True, help=everything)(run)
        state = click.Choice(STATES)
        run = click.option("--state", "states", multiple=True, type=state, help="Those in this state (repeatable).")(
            run
        )
        run = click.option(
            "--group", "groups", metavar="NAME", multiple=True, type=GROUP, help="Those of this group (repeatable)."
        )(run)
        return click.argument("job_ids", metavar="[ID]...", nargs=-1, type=numbers)(run)  # type: ignore[return-value]

    return add


def check_selection(selection: JobSelection, required: bool) -> None:
    """Refuses a selection that says nothing where something must be said, and `--all` beside anything else."""
    if selection.everything and selection.narrowed:
        raise click.UsageError("--all is for all jobs: give --all, or IDs, --group and --state")
    if required and not selection.is_set:
        raise click.UsageError("say which jobs: IDs (3, 1-3, 1,2), --group NAME, --state STATE or --all")


def select_jobs(
    home: Home,
    selection: JobSelection,
    fits: Callable[[Brief], bool] = lambda job: True,
    narrow_ranges: bool = False,
) -> list[Brief]:
    """Lists the jobs of the selection, oldest first: every one whose number was named, and of all others those that fit.

    A number that was named by itself must be there, and of a range, a group and a state at least one job: raises `Failure`.
    `narrow_ranges`: of a range too only those jobs are listed that fit, and the others are told.
    """
    with read_jobs(home) as table:
        jobs = table.briefs()
        present = {job.id for job in jobs}
        for numbers in selection.numbers:
            for number in numbers.single:
                if number not in present:
                    table.get(number)  # which says that it is not there, or was removed
    for numbers in selection.numbers:
        if not any(number in each for each in numbers.ranges for number in present):
            raise Failure(f"there are no jobs {numbers}; see `prefd jobs`", Exit.NOT_FOUND)
    for group in selection.groups:
        if not any(job.group == group for job in jobs):
            raise Failure(f"there is no job in group {group!r}{_list_groups(jobs)}", Exit.NOT_FOUND)
    chosen = [job for job in jobs if _is_chosen(job, selection)]
    if selection.numbers:
        named = _order_as_named(chosen, selection.numbers)
        return _narrow(named, selection.numbers, fits) if narrow_ranges else named
    return [job for job in chosen if fits(job)]


def _is_chosen(job: Brief, selection: JobSelection) -> bool:
    return (
        (not selection.numbers or any(job.id in numbers for numbers in selection.numbers))
        and (not selection.groups or job.group in selection.groups)
        and (not selection.states or job.state in selection.states)
    )


def _order_as_named(jobs: Iterable[Brief], numbers: Sequence[Numbers]) -> list[Brief]:
    """Orders jobs by the place of the range that they were named in, so that they are told of in the order of the words."""
    ranges = [each for part in numbers for each in part.ranges]
    return sorted(jobs, key=lambda job: next(index for index, each in enumerate(ranges) if job.id in each))


def _narrow(jobs: Sequence[Brief], numbers: Sequence[Numbers], fits: Callable[[Brief], bool]) -> list[Brief]:
    """Leaves out what was only named with a range and does not fit, and prints which jobs those are."""
    single = {number for each in numbers for number in each.single}
    left = [job for job in jobs if job.id not in single and not fits(job)]
    for state in dict.fromkeys(job.state for job in left):
        same = sorted(job.id for job in left if job.state == state)
        render.print_note(f"{list_numbers(same)}: {state}, and left as {'it is' if len(same) == 1 else 'they are'}")
    return [job for job in jobs if job not in left]


def _list_groups(jobs: Iterable[Brief]) -> str:
    groups = list(dict.fromkeys(job.group for job in jobs if job.group))
    return f"; there are {', '.join(groups[-10:])}" if groups else ", nor any other group"
