"""Runs a worker process: `python -m prefd.daemon.worker TASK --home HOME [--job ID]`.

Phases (`precompute`, `training`) leave an outcome in the job's folder and exit with a `WorkerExit`; where the daemon has given
them a line, they wait for the phase that follows (prefd.daemon.runs.next_phase). The other tasks read
their input (worker_tasks/inputs.py) as JSON from stdin and print one JSON document (worker_tasks/answers.py); with exit
code 1 it is {"error": what is wrong, in words}. `catalog` prints a line before it imports a plugin, too; `try-host` one for each thing
that it has tried. `look` stays, and answers the questions of worker_tasks/looks.py. `ahead` imports what a phase needs, and waits for one (runs/orders.py). `rank` and `far-rank` do what another worker tells
them over stdin, on the same machine or from another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from prefd.daemon.errors import EXPECTED, WorkerExit
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.machine import blas, cpus, power
from prefd.daemon.machine.interpreter import AHEAD
from prefd.daemon.runs.next_phase import NextPhase
from prefd.daemon.runs.phases import PHASES
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec
from prefd.daemon.worker import stopping
from prefd.daemon.worker.ahead import wait_for_orders
from prefd.daemon.worker.preparation import prepare_mlx, prepare_process, uncollected
from prefd.daemon.worker.ranks.count import RANK, count_ranks
from prefd.daemon.worker.ranks.early import start_early
from prefd.daemon.worker.ranks.seats import Seat, begin_ranks, plan_seats
from prefd.daemon.worker.ranks.ssh import TASK as FAR_RANK
from prefd.daemon.worker.ranks.welcome import Welcome
from prefd.plugins.errors import describe_exception

if TYPE_CHECKING:
    from prefd.daemon.worker_tasks.inputs import WorkerInput

log = logging.getLogger(__name__)

Input = TypeVar("Input", bound="WorkerInput")

NO_HOME = Path()
"""In place of a home, for the tasks that need none."""
LEAVE_SECONDS = 5.0
"""For threads and exit handlers to end, once all is written: a plugin's may never."""


def main(arguments: list[str] | None = None) -> int:
    """Run the task that the command line names, and return the process's exit code."""
    parser = argparse.ArgumentParser(prog="prefd.daemon.worker")
    parser.add_argument("task", choices=[*PHASES, AHEAD, "rank", FAR_RANK, "catalog", "look", "try-host", *ANSWERS])
    parser.add_argument("--home", type=Path, default=NO_HOME)
    parser.add_argument("--job", type=int, default=0)
    parser.add_argument("--next-phase", type=int, metavar="DESCRIPTOR")
    parser.add_argument("--idle", type=float, default=300.0, metavar="SECONDS")
    options = parser.parse_args(arguments)
    if options.task == FAR_RANK:
        return begin_far_rank()
    if options.task == AHEAD:
        following = wait_for_orders(Home(options.home), options.next_phase)
        return WorkerExit.DONE if following is None else main(following)
    rank = f"[rank {os.environ.get(RANK)}] " if options.task == "rank" else ""
    prepare_process(rank)
    if options.task in PHASES:
        seats = find_seats(Home(options.home), options.job)
        begin_ranks(seats)
        prepare_mlx(RunDir(Home(options.home).job(options.job)).batches.halvings)
        with contextlib.suppress(OSError):  # the phase that needs them tells of it
            start_early(seats, options.home, options.job)
        return begin_phases(options)
    prepare_mlx()
    if options.task == "rank":
        choose_device(options.home)
        from prefd.daemon.worker.rank_process import run_rank

        return run_rank(options.home, options.job, sys.stdin.buffer, sys.stdout.buffer)
    return answer_task(options)


def begin_phases(options: argparse.Namespace) -> int:
    """Run the phases of a job from the one that the command line names on, and return the process's exit code."""
    try:
        choose_device(options.home)
        with uncollected():
            from prefd.daemon.worker.phases import run_phases
    except EXPECTED as error:
        log.error("%s", error)
        return WorkerExit.NO_DEVICE
    except Exception as error:
        log.exception("a worker cannot start")
        log.error("%s", describe_exception(error))  # the last line of the log is the reason
        return WorkerExit.NOT_READY

    line = None if options.next_phase is None else NextPhase(options.next_phase)
    return run_phases(options.task, options.home, options.job, line)


def begin_far_rank() -> int:
    """Be a rank of a job that is another machine's, and return the process's exit code."""
    try:
        welcome = Welcome.read(sys.stdin.buffer)
        welcome.settle()
        prepare_process(f"[rank {welcome.rank}] ")
        if welcome.prevent_sleep:
            power.keep_awake_from_here()
        prepare_mlx(welcome.halvings)
        choose_device(NO_HOME)
    except EXPECTED as error:
        print(error, file=sys.stderr)
        return WorkerExit.FAILED
    from prefd.daemon.worker.rank_process import run_far_rank

    return run_far_rank(welcome, sys.stdin.buffer, sys.stdout.buffer)


def answer_task(options: argparse.Namespace) -> int:
    """Answer what the task asks, as one JSON document or, of some tasks, line by line, and return the process's exit code."""
    answers = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not part of the answer
            if options.task == "look":
                choose_device(options.home)
                answer_questions(options.home, answers, options.idle)
                return WorkerExit.DONE
            if options.task == "try-host":
                choose_device(options.home)
                try_host(options.home, answers)
                return WorkerExit.DONE
            if options.task == "catalog":
                answer = list_plugins(options.home, answers)
            else:
                if options.home != NO_HOME or HandedSettings.are_handed():
                    choose_device(options.home)
                answer = ANSWERS[options.task](options.home)
    except EXPECTED as error:
        print(error, file=sys.stderr)
        print(json.dumps({"error": str(error)}), file=answers, flush=True)  # stderr has other lines before it
        return WorkerExit.FAILED
    print(json.dumps(answer), file=answers, flush=True)
    return WorkerExit.DONE


def run_process() -> None:
    """Run `main` as a process of its own, which ends whatever a plugin does, and leaves with its exit code.

    What a plugin writes to the standard output, past Python too, goes to stderr.
    """
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if sys.argv[1:2] and sys.argv[1] not in (*PHASES, AHEAD):
        stopping.end_with_parent()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    sys.stdout = sys.stderr  # what exit handlers print is not part of the answer either
    stopping.leave_within(LEAVE_SECONDS, code)
    sys.exit(code)


def find_seats(home: Home, job_id: int) -> list[Seat]:
    """Find where the ranks are that the job's spec wants; one where that cannot be read, which the phase itself tells."""
    try:
        spec, settings = read_frozen_spec(RunDir(home.job(job_id))), HandedSettings.read(home)
        if spec.ranks == 1:
            return []
        hosts = settings.list_hosts()
        return plan_seats(count_ranks(spec.ranks, settings.device, len(cpus.usable_cpus()), hosts), hosts)
    except (OSError, ValueError, *EXPECTED):
        return []


def choose_device(home: Path) -> None:
    """Compute on what the settings of `home` name, or those that are handed over. Raises `NoGPU`, `ConfigError`."""
    choice = HandedSettings.read(Home(home)).device
    if choice != "auto":  # else nothing of MLX is imported yet
        from prefd.daemon.worker.models.chosen_device import set_device

        set_device(choice)


def describe_device(_: Path) -> dict[str, Any]:
    """Describe what this machine computes on, and how fast."""
    from prefd.daemon.worker.models.device import describe

    return describe(blas.preload()).to_json()


def list_plugins(home: Path, messages: TextIO) -> dict[str, Any]:
    """List every loss and every plugin; `messages` gets a line before each plugin is imported."""
    from prefd.daemon.worker.plugins import catalog

    return catalog(Home(home), lambda message: print(json.dumps(message), file=messages, flush=True))


def answer_questions(home: Path, answers: TextIO, idle_s: float) -> None:
    """Answer questions from stdin until none has come for `idle_s` seconds."""
    from prefd.daemon.worker.look.serving import serve

    serve(Home(home), sys.stdin.fileno(), answers, idle_s)


def try_host(home: Path, answers: TextIO) -> None:
    """Try a machine that ranks may run on, and write a line about each thing that was tried."""
    from prefd.daemon.worker.ranks import trial as trials
    from prefd.daemon.worker_tasks.host_trials import HostTrial, TrialFinding

    trial = read_input(HostTrial)
    seats = [Seat(rank=0, host=trial.own), Seat(rank=1, here=False, host=trial.host, numbers=[1])]

    def tell(finding: TrialFinding) -> None:
        print(finding.model_dump_json(), file=answers, flush=True)

    trials.try_host(seats, HandedSettings.read(Home(home)), trial.models, Home(home), tell)


def import_everything(_: Path) -> dict[str, Any]:
    """Import all that a job may need, also what most jobs do without."""
    import datasets
    import huggingface_hub
    import transformers

    from prefd.daemon.worker import phases, plugins

    modules = (datasets, huggingface_hub, transformers, phases, plugins)
    return {"imported": [module.__name__ for module in modules]}


def explain_needs(home: Path) -> dict[str, Any]:
    """Explain what a job would need from the cache."""
    from prefd.daemon.worker.reference.estimate import explain
    from prefd.daemon.worker_tasks.inputs import ExplainInput

    return explain(Home(home), read_input(ExplainInput)).to_json()


def preview_pairs(home: Path) -> dict[str, Any]:
    """Show pairs as a job will train on them."""
    from prefd.daemon.worker.preview import preview
    from prefd.daemon.worker_tasks.inputs import PreviewInput

    return preview(Home(home), read_input(PreviewInput)).to_json()


def check_data(home: Path) -> dict[str, Any]:
    """Check the data of specs."""
    from prefd.daemon.worker.preview import check_data
    from prefd.daemon.worker_tasks.inputs import DataCheckInput

    return check_data(Home(home), read_input(DataCheckInput)).to_json()


def examine_pairs(home: Path) -> dict[str, Any]:
    """Examine the pairs of a spec, and the reference's cached scores of them."""
    from prefd.daemon.worker.xray.examination import examine
    from prefd.daemon.worker_tasks.xrays import XRayInput

    return examine(Home(home), read_input(XRayInput)).to_json()


def score_again(home: Path) -> dict[str, Any]:
    """Score a sample of a reference's completions again."""
    from prefd.daemon.worker.reference.rescore import rescore
    from prefd.daemon.worker_tasks.inputs import RescoreInput

    return rescore(Home(home), read_input(RescoreInput)).to_json()


def score_pairs(home: Path) -> dict[str, Any]:
    """Score the pairs of a job with the policy that it has trained."""
    from prefd.daemon.worker.pair_scoring import score_pairs
    from prefd.daemon.worker_tasks.inputs import PairScoringInput

    return score_pairs(Home(home), read_input(PairScoringInput)).to_json()


def write_gguf(home: Path) -> dict[str, Any]:
    """Write the model of a job as GGUF."""
    from prefd.daemon.worker.outputs.gguf import write_gguf
    from prefd.daemon.worker_tasks.exports import GGUFInput

    return write_gguf(Home(home), read_input(GGUFInput)).to_json()


def write_modelfile(home: Path) -> dict[str, Any]:
    """Write Ollama's Modelfile for a job."""
    from prefd.daemon.worker.outputs.modelfile import write_modelfile
    from prefd.daemon.worker_tasks.exports import ModelfileInput

    return write_modelfile(Home(home), read_input(ModelfileInput)).to_json()


def report_job(home: Path) -> dict[str, Any]:
    """Report a job to one tool, until a line of stdin says that it has ended, or stdin ends."""
    from prefd.daemon.worker.reporting import report
    from prefd.daemon.worker_tasks.reports import ReportInput

    stdin: Any = sys.stdin.buffer
    messages = getattr(
        stdin, "raw", stdin
    )  # a thread may wait for it as the interpreter ends, which a buffer's lock forbids
    request = ReportInput.model_validate_json(messages.readline())
    return report(Home(home), request, messages).to_json()


def check_loss(home: Path) -> dict[str, Any]:
    """Check one loss with the conformance kit."""
    from prefd.daemon.worker.plugins import check_loss
    from prefd.daemon.worker_tasks.inputs import LossCheckInput

    return check_loss(Home(home), read_input(LossCheckInput)).to_json()


def make_check(_: Path) -> dict[str, Any]:
    """Make one check of `prefd selftest`."""
    from prefd.daemon.worker.selftest.running import run_check
    from prefd.daemon.worker_tasks.check_results import CheckInput

    request = read_input(CheckInput)
    return run_check(request.check, request.model).to_json()


def write_random_model(_: Path) -> dict[str, Any]:
    """Write a random model and pairs for it."""
    from prefd.daemon.worker.selftest.random_models import write_model, write_pairs
    from prefd.daemon.worker_tasks.check_results import RandomModelInput, WrittenModel

    folder = Path(read_input(RandomModelInput).folder)
    model = write_model(folder / "model")
    return WrittenModel(model=str(model), data=str(write_pairs(folder / "pairs.jsonl"))).to_json()


def read_input(kind: type[Input]) -> Input:
    """Read the task's input from stdin."""
    return kind.model_validate(json.load(sys.stdin.buffer))


ANSWERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "check-data": check_data,
    "check-loss": check_loss,
    "device": describe_device,
    "explain": explain_needs,
    "gguf": write_gguf,
    "modelfile": write_modelfile,
    "pairs": score_pairs,
    "preview": preview_pairs,
    "random-model": write_random_model,
    "ready": import_everything,
    "report": report_job,
    "rescore": score_again,
    "selftest": make_check,
    "xray": examine_pairs,
}


if __name__ == "__main__":
    run_process()
