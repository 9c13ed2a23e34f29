"""An unmodified client trains through `prefd serve`, a daemon and its workers: contrib/live/dpo.py, on a model made here.

MinT's client pins another version of the library: it runs in the Python that $PREFD_MINT_PYTHON names, where one is named.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import mlx_lm
import pytest

from prefd.daemon.home.serve_key import keep_key
from support import contrib_module
from support.daemon_process import Daemon
from support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("tinker", reason="a Tinker client is not installed here (pip install 'prefd[live]')")
pytest.importorskip("torch")

ONE_RUN = ["--model", "local/tiny", "--rank", "4", "--learning-rate", "0.01"]


@pytest.fixture
def daemon(tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "home", tiny_model, pairs_file)
    daemon.home.create()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = f'[serve]\nenabled = true\nport = {port}\nmodels = {{"local/tiny" = "{tiny_model}"}}\n'
    (daemon.home.root / "config.toml").write_text(settings)
    monkeypatch.setenv("TINKER_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("TINKER_API_KEY", keep_key(daemon.home))
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.end()


@pytest.fixture
def recipe() -> ModuleType:
    return contrib_module.load("live/dpo.py")


def test_losses_fall_also_where_the_worker_is_killed_in_mid_step_and_the_adapter_is_mlx_lms(
    daemon: Daemon, recipe: ModuleType, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = recipe.train(recipe.read_options(ONE_RUN))
    assert losses[0] > losses[1] > losses[2]
    adapter = daemon.home.job(1) / "live" / "sampler_weights" / "dpo-final"
    mlx_lm.load(str(tiny_model), adapter_path=str(adapter))
    killed = threading.Event()
    loss_of = recipe.make_loss

    def make_deadly_loss(*arguments: object) -> object:
        """While the client computes its loss, between its two passes, the worker is killed."""
        compute = loss_of(*arguments)

        def compute_once(*given: object) -> object:
            if not killed.is_set():
                killed.set()
                worker = next(job["worker_pid"] for job in daemon.jobs().values() if job["state"] == "live")
                os.kill(worker, signal.SIGKILL)
            return compute(*given)

        return compute_once

    monkeypatch.setattr(recipe, "make_loss", make_deadly_loss)
    assert recipe.train(recipe.read_options(ONE_RUN)) == losses
    assert killed.is_set()
    mint = os.environ.get("PREFD_MINT_PYTHON")
    if mint is None:
        return
    program = "import sys, mint; sys.path.insert(0, 'contrib/live'); import dpo; print(dpo.train(dpo.read_options(sys.argv[1:])))"
    variables = {"MINT_BASE_URL": os.environ["TINKER_BASE_URL"], "MINT_API_KEY": os.environ["TINKER_API_KEY"]}
    variables["MINT_API_KEY"] = variables["MINT_API_KEY"].replace("tml-", "sk-", 1)
    command = [mint, "-c", program, *ONE_RUN]
    done = subprocess.run(command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=True)
    assert eval(done.stdout.splitlines()[-1]) == pytest.approx(losses)  # the list that dpo.train returned


def test_a_reference_is_scored_once_for_all_sessions(daemon: Daemon, recipe: ModuleType) -> None:
    options = [*ONE_RUN, "--reference", "--beta", "0.1"]
    first = recipe.train(recipe.read_options(options))
    assert first[0] == pytest.approx(math.log(2), abs=1e-5)
    assert recipe.train(recipe.read_options(options)) == pytest.approx(first, abs=1e-5)
    counts = [list(daemon_lines(daemon, number)) for number in (1, 2)]
    assert [(lines[0]["ref_hits"], lines[0]["ref_scored"]) for lines in counts] == [(0, 8), (8, 0)]


def daemon_lines(daemon: Daemon, number: int) -> Iterator[dict[str, float]]:
    """The lines of a job's metrics."""
    from prefd.daemon.runs.run_folder import RunDir

    return RunDir(daemon.home.job(number)).read_metrics()
