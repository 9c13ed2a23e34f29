"""What can happen to a daemon, done to one.

    PYTHONPATH=tests python -m faults.daemon kills|burst|steps|rivals FOLDER COUNT SEED

prints a JSON object: `counts`, and `seen`, what the kills hit. `test_daemon.py` runs a bounded share of it,
`benchmarks/faults_daemon.py` all.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.programs import program, program_environment
from support.random_operations import Found

MODULES = {
    "kills": "faults.daemon_training",
    "burst": "faults.daemon_burst",
    "steps": "faults.daemon_steps",
    "rivals": "faults.daemon_steps",
}
"""Of each of these the function of its name; any other is a trouble of `faults.daemon_machine`."""


def run(fault: str, folder: Path, count: int, seed: int = 0) -> Found:
    """What one fault came to, from a process of its own."""
    done = subprocess.run(
        program("faults.daemon", fault, folder, count, seed),
        env=program_environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    result: Found = json.loads(done.stdout)
    return result


def main() -> None:
    fault, folder, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    shutil.rmtree(folder, ignore_errors=True)
    if fault not in MODULES:
        from faults.daemon_machine import machine

        folder.mkdir(parents=True)
        print(json.dumps(machine(fault, folder, count)))
        return
    attack = getattr(importlib.import_module(MODULES[fault]), fault)  # here: one of them imports mlx
    print(json.dumps(attack(folder, count, seed)))


if __name__ == "__main__":
    main()
