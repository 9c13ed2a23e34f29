"""What an installed prefd must be able to do: score with a reference, train twice from one cache, and check the cache."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MAKE_MODEL = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from support import tiny_model
tiny_model.build_llama(Path("model"))
"""
PAIRS = [
    {"prompt": f"What is {number} + {number}?", "chosen": f"{2 * number}.", "rejected": f"{number}, I should think."}
    for number in range(1, 9)
]


class JobFailed(Exception):
    """What an installed prefd did otherwise than it must."""


def run_jobs(python: Path, folder: Path, version: str) -> None:
    """Run two jobs in `folder` with the prefd of `python`. Raises `JobFailed`."""
    folder.mkdir()
    call(folder, python, "-c", MAKE_MODEL)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    prefd = (python.with_name("prefd"), "--home", "home")
    expect(f"version {version}", call(folder, *prefd, "--version"))
    for loss, scored in (("sigmoid", "reference: 16 of 16 completions scored"), ("ipo", "reference: 0 of 16")):
        spec = {
            "model": "model",
            "data": {"path": "pairs.jsonl", "max_length": 256, "validation": 0.0},
            "loss": {"name": loss},
            "training": {"iters": 3, "batch_size": 2},
        }
        (folder / f"{loss}.json").write_text(json.dumps(spec), encoding="utf-8")
        expect(scored, call(folder, *prefd, "run", f"{loss}.json"))
    jobs = json.loads(call(folder, *prefd, "jobs", "--json"))["jobs"]
    for job in jobs:
        expect("done", job["state"])
        if not (folder / "home" / "runs" / str(job["id"]) / "adapter" / "adapters.safetensors").is_file():
            raise JobFailed(f"job {job['id']} left no adapter")
    call(folder, *prefd, "cache", "verify", "--deep")


def expect(text: str, printed: str) -> None:
    if text not in printed:
        raise JobFailed(f"expected {text!r} in:\n{printed}")


def call(folder: Path, *command: object) -> str:
    """What the command prints. It sees nothing of the checkout it was built from. Raises `JobFailed` where it fails."""
    words = [str(word) for word in command]
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PREFD_", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise JobFailed(f"{' '.join(words)} failed:\n{done.stdout}")
    return done.stdout
