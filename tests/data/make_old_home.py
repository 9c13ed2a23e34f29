"""Make home-0.1.0.tar.gz, the home that tests/whole/test_old_home.py gives to the present prefd.

    git worktree add ../prefd-0.1.0 f88bfb2
    .venv/bin/python tests/data/make_old_home.py ../prefd-0.1.0

The given checkout is installed beside the environment's own prefd, and its daemon runs on a tiny random model until it is
killed in the middle of a training. The archive holds the home, the model and the pairs as they then lie on the disk. Every
path in it begins with ROOT, which the archive's file `root` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).parent.parent
ARCHIVE = Path(__file__).with_name("home-0.1.0.tar.gz")
ROOT = Path("/tmp/prefd-0.1.0")
HOME = ROOT / "home"
MODEL = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "num_attention_heads": 2}
KILLED_AFTER = 6
"""The step whose checkpoint is there when the daemon and its worker are killed."""

sys.path.insert(0, str(TESTS))

PAIRS = [
    {"prompt": "What is two plus two?", "chosen": "Four.", "rejected": "It could be many things, who knows."},
    {"prompt": "Name a primary colour.", "chosen": "Red is one.", "rejected": "Colours are lovely, are they not?"},
    {"prompt": "Is the sun a star?", "chosen": "Yes, it is a star.", "rejected": "No."},
    {"prompt": "Where do penguins live?", "chosen": "In the south.", "rejected": "Up at the North Pole."},
    {"prompt": "How many legs has a spider?", "chosen": "Eight.", "rejected": "Six legs, like every insect."},
    {"prompt": "What melts at zero degrees?", "chosen": "Ice does.", "rejected": "Rocks and such."},
    {"prompt": "Which month follows May?", "chosen": "June.", "rejected": "After May comes July, I think."},
    {"prompt": "Say hello in French.", "chosen": "Bonjour.", "rejected": "Hola!"},
]


def spec(loss: str, epochs: int, pairs: str = "pairs.jsonl", **training: Any) -> dict[str, Any]:
    return {
        "model": "model",
        "data": {"path": pairs, "validation": 0.25},
        "loss": {"name": loss},
        "training": {
            "batch_size": 2,
            "epochs": epochs,
            "learning_rate": 1e-3,
            "save_every": 2,
            "lora": {"rank": 2},
            **training,
        },
    }


def main(checkout: Path) -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    write_inputs()
    with tempfile.TemporaryDirectory() as packages:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, str(checkout)]
        subprocess.run(command, check=True)
        os.environ["PYTHONPATH"] = packages
        assert prefd("--version").endswith("0.1.0")
        live_until_killed()
    pack()
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")


def write_inputs() -> None:
    from support import tiny_model

    tiny_model.build_llama(ROOT / "model", num_key_value_heads=1, **MODEL)
    (ROOT / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    same = {"prompt": "Which one?", "chosen": "This one.", "rejected": "This one."}
    (ROOT / "same.jsonl").write_text(json.dumps(same) + "\n")
    specs = {
        "finished": spec("sigmoid", 1),
        "failing": spec("sigmoid", 1, "same.jsonl"),
        "interrupted": spec("ipo", 30, steps_per_eval=2, best_checkpoint={"metric": "eval_loss"}),
        "waiting": spec("sigmoid", 1) | {"priority": -1},
        "unwanted": spec("hinge", 1) | {"priority": -2},
        "misspelt": spec("sigmoid", 1) | {"lose": "ipo"},
        "unclaimed": {name: value for name, value in spec("sigmoid", 1).items() if name in ("model", "data")},
    }
    for name, document in specs.items():
        (ROOT / f"{name}.json").write_text(json.dumps(document, indent=1))


def live_until_killed() -> None:
    """A finished job, a failed one, a refused spec; then one that is cancelled, one that waits, and one that is cut off."""
    prefd("init")
    daemon = subprocess.Popen([*PREFD, "start"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((HOME / "run" / "prefd.sock").exists)
    submit("finished")
    prefd("wait", "1")
    submit("failing")
    prefd("wait", "2", check=False)
    shutil.copy(ROOT / "misspelt.json", HOME / "jobs")
    wait_for(lambda: any((HOME / "jobs" / "rejected").glob("*misspelt*.error.txt")))
    prefd("pause")
    submit("interrupted")
    submit("waiting")
    submit("unwanted")
    prefd("cancel", "5")
    prefd("resume")
    checkpoints = HOME / "runs" / "3" / "checkpoints"
    wait_for(lambda: (checkpoints / f"step-{KILLED_AFTER:08d}").exists())
    processes = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]
    for process in processes:
        process.kill()
    daemon.wait()
    psutil.wait_procs(processes)
    assert not (HOME / "runs" / "3" / "adapter").exists()
    prefd("submit", str(ROOT / "unclaimed.json"))
    print(prefd("jobs"))


def pack() -> None:
    """The same bytes for the same files: no user's name, no times."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry if entry.isfile() or entry.isdir() else None

    (ROOT / "root").write_text(str(ROOT))
    with tarfile.open(ARCHIVE, "w:gz", compresslevel=9) as archive:
        for name in ("root", "model", "pairs.jsonl", "same.jsonl", "home"):
            archive.add(ROOT / name, name, filter=plain)


PREFD = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(HOME)]


def prefd(*words: str, check: bool = True) -> str:
    done = subprocess.run([*PREFD, *words], check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"prefd {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def submit(name: str) -> None:
    before = len(list((HOME / "runs").iterdir()))
    prefd("submit", str(ROOT / f"{name}.json"))
    wait_for(lambda: len(list((HOME / "runs").iterdir())) > before)


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        if time.monotonic() > end:
            raise SystemExit((HOME / "daemon.log").read_text()[-2000:] if (HOME / "daemon.log").exists() else "late")
        time.sleep(0.001)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
