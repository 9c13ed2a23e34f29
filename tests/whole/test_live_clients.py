"""Unmodified clients train through `prefd start`, its server and real workers, on a model made here: contrib/live/dpo.py, the
cookbook's own DPO, and MinT's.

What is not in this Python runs in another's: $PREFD_MINT_PYTHON has mindlab-toolkit, which pins another version of the client;
$PREFD_MINT_RECIPE is its recipe's file, which has no licence to lie here; $PREFD_CLIENT_PYTHONS are Pythons with other versions
of the client, with ":" between them.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx_lm
import pytest

from prefd.daemon.home.serve_key import keep_key
from prefd.daemon.home.serve_record import find_server
from prefd.daemon.runs.run_folder import RunDir
from support import client_program, contrib_module, questions_program
from support.cutting_proxy import cutting
from support.daemon_process import Daemon
from support.paths import ROOT, SUPPORT
from support.sockets import find_free_port

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("tinker", reason="a Tinker client is not installed here (pip install 'prefd[live]')")
pytest.importorskip("torch")

ONE_RUN = ["--model", "local/tiny", "--rank", "4", "--learning-rate", "0.01"]
HAS_COOKBOOK = importlib.util.find_spec("tinker_cookbook") is not None
MINT, RECIPE = os.environ.get("PREFD_MINT_PYTHON"), os.environ.get("PREFD_MINT_RECIPE")
OTHERS = [each for each in os.environ.get("PREFD_CLIENT_PYTHONS", "").split(":") if each]


@pytest.fixture
def daemon(tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "home", tiny_model, pairs_file)
    daemon.home.create()
    port = find_free_port()
    models = f'{{"local/tiny" = "{tiny_model}"}}'
    settings = f"parallel = 4\n[serve]\nenabled = true\nport = {port}\nrelease_seconds = 15\nmodels = {models}\n"
    (daemon.home.root / "config.toml").write_text(settings)
    monkeypatch.setenv("TINKER_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("TINKER_API_KEY", keep_key(daemon.home))
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    try:
        daemon.start()
        daemon.until(lambda: find_server(daemon.home) is not None)
        yield daemon
    finally:
        daemon.end()


@pytest.fixture
def recipe() -> ModuleType:
    return contrib_module.load("live/dpo.py")


def test_losses_stay_where_answers_are_lost_and_worker_and_server_are_killed_in_mid_step(
    daemon: Daemon, recipe: ModuleType, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = recipe.train(recipe.read_options(ONE_RUN))
    assert losses[0] > losses[1] > losses[2]
    adapter = daemon.home.job(1) / "live" / "sampler_weights" / "dpo-final"
    mlx_lm.load(str(tiny_model), adapter_path=str(adapter))
    deaths: list[int] = []
    loss_of = recipe.make_loss

    def make_deadly_loss(*arguments: object) -> object:
        """While the client computes its loss, between its two passes, the worker is killed, and in the next step the server."""
        compute = loss_of(*arguments)

        def compute_once(*inputs: object) -> object:
            if len(deaths) < 2:
                server = find_server(daemon.home)
                assert server is not None
                worker = next(job["worker_pid"] for job in list_jobs(daemon) if job["state"] == "live")
                deaths.append(server.pid if deaths else worker)
                os.kill(deaths[-1], signal.SIGKILL)
            return compute(*inputs)

        return compute_once

    monkeypatch.setattr(recipe, "make_loss", make_deadly_loss)
    with cutting(os.environ["TINKER_BASE_URL"], every=4) as (url, proxy):
        monkeypatch.setenv("TINKER_BASE_URL", url)
        assert recipe.train(recipe.read_options(ONE_RUN)) == losses
    assert len(deaths) == 2
    assert proxy.cut >= 3


def test_a_reference_is_scored_once_for_all_sessions(daemon: Daemon, recipe: ModuleType) -> None:
    options = [*ONE_RUN, "--reference", "--beta", "0.1"]
    first = recipe.train(recipe.read_options(options))
    assert first[0] == pytest.approx(math.log(2), abs=1e-5)
    assert recipe.train(recipe.read_options(options)) == pytest.approx(first, abs=1e-5)
    assert [count_references(daemon, number) for number in (1, 2)] == [(0, 8), (8, 0)]


@pytest.mark.thorough
@pytest.mark.skipif(not HAS_COOKBOOK, reason="tinker-cookbook is not installed here")
def test_the_cookbooks_dpo_scores_its_reference_once_over_epochs_betas_and_restarts(
    daemon: Daemon, tiny_model: Path, tmp_path: Path
) -> None:
    """24 pairs: 48 completions, which 6 steps of 8 pairs ask for twice."""
    pairs = tmp_path / "24.jsonl"
    rows = [
        {"prompt": f"What is {number} and {number}?", "chosen": f"It is {2 * number}.", "rejected": f"Not {number}!"}
        for number in range(24)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def train(beta: float) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = run_program(
            [sys.executable, str(SUPPORT / "cookbook_program.py")],  # whose imports are not everywhere
            *("local/tiny", str(tiny_model), str(pairs), str(beta), str(tmp_path / f"log-{beta}")),
        )
        return steps

    first = train(0.1)
    assert first[0]["dpo_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first[-1]["dpo_loss"] < first[0]["dpo_loss"]
    daemon.end()
    daemon.start()
    second = train(0.3)
    assert second[0]["dpo_loss"] == pytest.approx(math.log(2), abs=1e-6)
    train(0.0)
    assert [count_references(daemon, number) for number in (1, 2, 3)] == [(48, 48), (96, 0), (0, 0)]
    peaks = [max(line["peak_memory_gb"] for line in read_metrics(daemon, number)) for number in (1, 2, 3)]
    assert max(peaks[:2]) <= 1.1 * peaks[2]


def test_512_questions_at_once_are_few_batches_and_the_second_time_none_is_scored(daemon: Daemon) -> None:
    first, again = run_program([sys.executable, questions_program.__file__], "local/tiny")
    assert first == again
    assert len(first) == 512
    log = RunDir(daemon.home.job(1)).log.read_text()
    batches = [int(count) for count in re.findall(r"(\d+) questions? asked at once", log)]
    first_round = next(count for count in range(len(batches)) if sum(batches[:count]) == 512)  # the second waits for it
    for of_round in (batches[:first_round], batches[first_round:]):
        assert sum(of_round) == 512
        assert len(of_round) <= 20
    daemon.until(lambda: list_jobs(daemon)[0]["state"] == "done")
    assert "references: 512 from the cache, 512 scored" in list_jobs(daemon)[0]["reason"]
    (reference,) = [path for path in (daemon.home.cache / "refs").iterdir() if path.is_dir()]
    assert len(list((reference / "segments").iterdir())) <= 20


@pytest.mark.skipif(not OTHERS, reason="PREFD_CLIENT_PYTHONS names no Python with another version of the client")
def test_other_versions_of_the_client_see_the_same(daemon: Daemon) -> None:
    pythons = [sys.executable, *OTHERS]
    seen = [run_program([python, client_program.__file__], "local/tiny") for python in pythons]
    for python, other in zip(pythons, seen, strict=True):
        assert other["losses"] == seen[0]["losses"], python
        assert other["drawn"] == seen[0]["drawn"], python
        assert other["reference"] == seen[0]["reference"], python
        assert (other["same_after_resuming"], other["goes_on"]) == (True, True), python


@pytest.mark.skipif(MINT is None, reason="PREFD_MINT_PYTHON names no Python with mindlab-toolkit")
def test_mints_client_and_its_recipe_train_with_a_key_of_its_kind(
    daemon: Daemon, recipe: ModuleType, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MINT is not None
    losses = recipe.train(recipe.read_options(ONE_RUN))
    monkeypatch.setenv("MINT_BASE_URL", os.environ["TINKER_BASE_URL"])
    monkeypatch.setenv("MINT_API_KEY", os.environ["TINKER_API_KEY"].replace("tml-", "sk-", 1))
    program = "import sys, mint; sys.path.insert(0, 'contrib/live'); import dpo; print(dpo.train(dpo.read_options(sys.argv[1:])))"
    assert ast.literal_eval(run_lines([MINT, "-c", program, *ONE_RUN])[-1]) == losses
    if RECIPE is None:
        return
    monkeypatch.setenv("MINT_BASE_MODEL", "local/tiny")
    lines = run_lines([MINT, RECIPE])
    steps = [float(each) for each in re.findall(r"Step \d: loss=([\d.]+)", "\n".join(lines))]
    assert len(steps) == 3
    assert steps[2] < steps[0]
    assert re.search(r"tinker://\S+/sampler_weights/dpo-native-final$", "\n".join(lines), re.MULTILINE)


def run_program(command: Sequence[str], *arguments: str) -> Any:
    """Runs a program of the tests with the client of the service, and reads the JSON that is its last line."""
    return json.loads(run_lines([*command, *arguments])[-1])


def run_lines(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def list_jobs(daemon: Daemon) -> list[dict[str, Any]]:
    """Every job, the oldest first: their names are all one model's."""
    from prefd.daemon.jobs.table import JobTable

    with JobTable.open_readonly(daemon.home.database) as table:
        return [job.to_json() for job in table.list()]


def read_metrics(daemon: Daemon, number: int) -> list[dict[str, float]]:
    return list(RunDir(daemon.home.job(number)).read_metrics())


def count_references(daemon: Daemon, number: int) -> tuple[float, float]:
    """What was in the cache for a job, and what was scored, by its metrics."""
    lines = read_metrics(daemon, number)
    return sum(line["ref_hits"] for line in lines), sum(line["ref_scored"] for line in lines)
