"""Kills and stops ranks of running jobs at random moments, and looks at what is left.

    python benchmarks/faults_ranks.py [--faults 200] [--seed 1] [--remote] [--timeout 6] [--markdown results.md]

Each job is a tiny model's, of 2 or 3 ranks, run by real workers; half of the jobs have the reference's layers spread over them. With
`--remote` all ranks but the first are reached by the tests' stand-in for ssh, which in half of the jobs has become the rank when a fault
hits it, and in the others waits for it. A fault is a signal to one rank at a random moment: SIGKILL or SIGSTOP
to any, SIGTERM (what `prefd pause` and a stop of the daemon send) to the first. After it the worker is started again, until the job
is done. Its adapter must be that of an unbroken twin of as many ranks, bit for bit; the worker must end by itself, soon; and no
rank may be left running.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from prefd.daemon.machine import blas

blas.preload()
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.job import RunningJob
from support import fake_ssh, tiny_model
from support.fake_ssh import FakeSSH
from support.jobs_on_disk import make_job
from support.sample_pairs import PAIRS

TIMEOUT_S = 6.0
"""For so long a rank may say nothing, unless `--timeout` says otherwise: on a busy machine a rank over ssh may take longer to start."""
TRIES = 3
"""So often the daemon starts a job that ends without a reason of its own."""
PATIENCE_S = 120.0
"""In which a worker must end that a fault has hit, or that runs undisturbed."""
HOSTS = tuple(Host(ssh=name, ips=["127.0.0.1"]) for name in ("localhost", "studio-2", "studio-3"))
MUST_BE_NONE = ("another adapter", "did not end", "left running", "failed", "another end")


def make(root: Path, model: Path, pairs: Path, ranks: int, pipeline: bool) -> RunningJob:
    """Write a claimed job of so many ranks, over which its reference's layers are spread for a `pipeline`."""
    training = {"batch_size": 4, "epochs": 8, "learning_rate": 1e-3, "save_every": 5, "lora": {"rank": 4}}
    data = {"path": str(pairs), "max_length": 64, "validation": 0.2}
    reference = {"pipeline": pipeline}
    return make_job(root, 1, model=str(model), data=data, ranks=ranks, training=training, reference=reference)


def start(job: RunningJob, phase: str, settings: HandedSettings) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own, as the daemon does."""
    command = [sys.executable, "-P", "-m", "prefd.daemon.worker", phase, "--home", str(job.home.root), "--job", "1"]
    with job.run.log.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.run.root,
            start_new_session=True,
            env=os.environ | settings.environment(),
        )


def list_ranks(worker: int) -> list[int]:
    """List the other ranks of a worker."""
    try:
        return [each.pid for each in psutil.Process(worker).children(recursive=True) if is_rank(each)]
    except psutil.Error:
        return []


def is_rank(process: psutil.Process) -> bool:
    """Say whether a process is a rank."""
    return not {"rank", "far-rank"}.isdisjoint(process.cmdline())


def digest_adapter(job: RunningJob) -> str:
    """Return the digest of the adapter that a job has left."""
    return hashlib.sha256((job.run.adapter / "adapters.safetensors").read_bytes()).hexdigest()


def run_undisturbed(job: RunningJob, settings: HandedSettings) -> tuple[str, float]:
    """Run a job to its end; its adapter's digest, and the seconds of its training."""
    seconds = 0.0
    for phase in ("precompute", "training"):
        began = time.monotonic()
        if code := start(job, phase, settings).wait(PATIENCE_S):
            raise SystemExit(f"{phase} ended with {code}; see {job.run.log}")
        seconds = time.monotonic() - began
    return digest_adapter(job), seconds


class Trial:
    """Trial is one job that is hit by faults until it is done."""

    def __init__(
        self,
        job: RunningJob,
        settings: HandedSettings,
        chance: random.Random,
        whole_seconds: float,
        counts: Counter[str],
    ) -> None:
        self.job = job
        self.settings = settings
        self.chance = chance
        self.whole_seconds = whole_seconds
        self.counts = counts

    def run(self, faults: int) -> int:
        """Run the job to its end, with at most so many faults, and return how many hit."""
        hits = 0
        for phase in ("precompute", "training"):
            while True:
                hit = hits < faults and self._run_once(phase)
                hits += bool(hit)
                if not hit and (outcome := self.job.run.outcome(phase)) is not None:
                    self.counts["failed"] += not outcome.ok
                    break
                if not hit:
                    self._finish(phase)
                    break
        return hits

    def _run_once(self, phase: str) -> str | None:
        """Run a phase's worker, hit it at a random moment, and return what hit it; None where it was done before."""
        worker = start(self.job, phase, self.settings)
        moment = time.monotonic() + self.chance.uniform(0.2, self.whole_seconds)
        while time.monotonic() < moment and worker.poll() is None:
            time.sleep(0.02)
        ranks = list_ranks(worker.pid)
        if worker.poll() is not None:
            self._look_for_ends(worker, ranks)
            return None
        victim = self.chance.choice([worker.pid, *ranks])
        name = self.chance.choice(["SIGKILL", "SIGSTOP", *(["SIGTERM"] if victim == worker.pid else [])])
        if victim == worker.pid and name == "SIGSTOP":
            name = "SIGKILL"  # a first rank that stands still is the daemon's to notice
        try:
            os.kill(victim, signal.Signals[name])
        except ProcessLookupError:
            name = "nothing"
        which = "the first rank" if victim == worker.pid else "another rank"
        self.counts[f"{name} to {which}, in {phase}"] += 1
        self._look_for_ends(worker, ranks)
        expected = {
            0,
            int(WorkerExit.LOST_RANK),
            int(WorkerExit.STOPPED),
            -signal.SIGKILL,
            -signal.SIGTERM,
            -signal.SIGALRM,
        }
        if worker.returncode not in expected:
            self.counts["another end"] += 1
            print(f"{name} to {which}: exit code {worker.returncode}, see {self.job.run.log}", file=sys.stderr)
        return name

    def _finish(self, phase: str) -> None:
        """Run a phase to its end, and again where a rank was silent for too long on a busy machine, as the daemon does."""
        for _ in range(TRIES):
            worker = start(self.job, phase, self.settings)
            self._look_for_ends(worker, [])
            if worker.returncode != WorkerExit.LOST_RANK:
                break
            self.counts["silent by itself"] += 1
        if worker.returncode:
            self.counts["failed"] += 1

    def _look_for_ends(self, worker: subprocess.Popen[bytes], ranks: list[int]) -> None:
        """Wait for the end of a worker and of its ranks."""
        try:
            worker.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.counts["did not end"] += 1
            worker.kill()
            worker.wait()
        starts = re.findall(r"are starting \(pids (.+)\)", self.job.run.log.read_text())
        ranks = [*ranks, *(int(each.split()[0]) for each in (starts[-1].split(",") if starts else []))]
        deadline = time.monotonic() + 10
        while any(map(runs_as_rank, ranks)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.counts["left running"] += sum(map(runs_as_rank, set(ranks)))


def runs_as_rank(pid: int) -> bool:
    """Say whether a process runs, and is a rank."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and is_rank(process)
    except psutil.Error:
        return False


def run_jobs(root: Path, options: argparse.Namespace, ssh: FakeSSH | None, counts: Counter[str]) -> tuple[int, int]:
    """Run jobs until so many faults have hit; return how many have, and how many jobs there were."""
    model = tiny_model.build_llama(root / "model", num_hidden_layers=3)
    pairs = root / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    settings = HandedSettings(rank_timeout=options.timeout, hosts=HOSTS if ssh else ())
    twins: dict[tuple[int, bool], tuple[str, float]] = {}
    jobs = hits = 0
    while hits < options.faults:
        chance = random.Random(f"{options.seed} {jobs}")
        ranks, pipeline = chance.choice([2, 3]), chance.choice([False, True])
        if ssh:
            for host in HOSTS[1:]:
                ssh.behave(host.ssh, chance.choice(["", "STAYS=1"]))
        if (ranks, pipeline) not in twins:
            twin = make(root / f"twin-{ranks}-{pipeline}", model, pairs, ranks, pipeline)
            twins[ranks, pipeline] = run_undisturbed(twin, settings)
        digest, seconds = twins[ranks, pipeline]
        job = make(root / f"job-{jobs}", model, pairs, ranks, pipeline)
        hits += Trial(job, settings, chance, seconds, counts).run(min(4, options.faults - hits))
        if not (job.run.adapter / "adapters.safetensors").exists() or digest_adapter(job) != digest:
            counts["another adapter"] += 1
            print(f"job {jobs} of {ranks} ranks has another adapter than its twin", file=sys.stderr)
        jobs += 1
        print(f"{hits} faults, {jobs} jobs: {dict(counts)}", file=sys.stderr)
    return hits, jobs


def main() -> None:
    """Do so many faults, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--remote", action="store_true", help="reach the ranks over the tests' stand-in for ssh")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds in which a rank may say nothing")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    counts: Counter[str] = Counter(dict.fromkeys(MUST_BE_NONE, 0))
    with tempfile.TemporaryDirectory(prefix="prefd-faults-ranks-") as folder, pytest.MonkeyPatch.context() as patched:
        ssh = fake_ssh.put_on_path(Path(folder) / "ssh", patched) if options.remote else None
        hits, jobs = run_jobs(Path(folder), options, ssh, counts)
    seconds = time.monotonic() - began
    bad = ", ".join(f"{name} {counts[name]}" for name in MUST_BE_NONE)
    rows = "\n".join(f"| {name} | {count} |" for name, count in sorted(counts.items()) if name not in MUST_BE_NONE)
    text = (
        f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, seed {options.seed}: {hits} faults in {jobs} jobs of 2 and "
        f"3 ranks{' over a stand-in for ssh' if options.remote else ''}, {seconds:.0f} s. Must be 0: {bad}.\n\n| fault | times |\n|---|---|\n{rows}\n"
    )
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if any(counts[name] for name in MUST_BE_NONE):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
