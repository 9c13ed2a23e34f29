"""A stand-in for `prefd.daemon.worker`: as quick as an empty script, and it does what the job's name says.

`ok` ends well; `fail` says why it failed; `crash`, `segfault`, `killed`, `mute` leave no outcome; `sleep` works until it
is stopped (exit code 75), `once` does so the first time only; `deaf` ignores SIGTERM; `stopped` ends with 75 unasked.
`shaky` crashes the first time it is run; `steps` crashes five times, each time a checkpoint further; `greedy` takes 300 MB;
`noisy` sleeps and logs without end; `full` finds no room four times; `starved` says that it cannot allocate, and aborts; `environment` writes down what it was told.
`crash@training` crashes in that phase only. What `catalog` prints is the text of CATALOG_FILE, or, after a `!`, its
dying words.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefd.daemon.catalog import Catalog

NUMBER = {"type": "number", "default": 0.1, "exclusiveMinimum": 0}


def loss(needs_reference: bool = True, **params: Any) -> dict[str, Any]:
    return {
        "params": params,
        "needs_reference": needs_reference,
        "batch_independent": True,
        "summary": "A loss.",
        "doc": "A loss.",
        "plugin": "prefd:losses",
    }


CATALOG: dict[str, Any] = {
    "losses": {
        "sigmoid": loss(beta=NUMBER),
        "ipo": loss(beta=NUMBER, length_normalize={"type": "boolean", "default": True}),
        "dpop": loss(beta=NUMBER, delta={"type": "number", "default": 50.0, "minimum": 0}),
        "cpo": loss(needs_reference=False, beta=NUMBER),
    },
    "plugins": [
        {
            "name": "prefd:losses",
            "version": "0.1.0",
            "source": "built-in",
            "losses": ["cpo", "dpop", "ipo", "sigmoid"],
            "formats": [],
            "error": None,
        }
    ],
}

SCRIPT = """
import json, os, signal, sys, time

command = sys.argv[1]
if command == "catalog":
    with open(CATALOG_FILE) as file:
        text = file.read()
    if text.startswith("!"):
        sys.exit(text[1:])
    print(text)
    sys.exit()

with open("spec.json") as file:
    name = json.load(file)
name = name.get("spec", name)["name"]
with open("starts.txt", "a") as file:
    file.write(f"{command} {os.getpid()}\\n")
name, _, only = name.partition("@")
if only and only != command:
    name = "ok"


def write(file_name, value):
    with open(file_name + "~", "w") as file:
        json.dump(value, file)
    os.replace(file_name + "~", file_name)


def stop(*_):
    print("stopping", flush=True)
    sys.exit(75)


if name == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, stop)
print("hello from", command, flush=True)
write("progress.json", {"phase": command, "done": 1, "total": 2, "unit": "completion"})
if name == "fail":
    write(command + ".json", {"ok": False, "reason": "data.path: no column called chosen"})
    sys.exit(1)
if name == "crash":
    raise RuntimeError("an unexpected thing")
if name == "mute":
    sys.exit(0)
if name == "stopped":
    sys.exit(75)
if name in ("segfault", "killed"):
    os.kill(os.getpid(), signal.SIGSEGV if name == "segfault" else signal.SIGKILL)
first = not os.path.exists("again")
if name == "shaky" and first:
    open("again", "w").close()
    os.kill(os.getpid(), signal.SIGSEGV)
if name == "steps":
    os.makedirs("checkpoints", exist_ok=True)
    step = len(os.listdir("checkpoints"))
    if step < 5:
        os.mkdir("checkpoints/step-%08d" % step)
        os.kill(os.getpid(), signal.SIGSEGV)
if name == "greedy":
    taken = bytearray(300_000_000)
    time.sleep(20)
if name == "full":
    with open("full", "a") as file:
        file.write("x")
    if os.path.getsize("full") < 5:
        print("[Errno 28] No space left on device", flush=True)
        sys.exit(74)
if name == "starved":
    print("libc++abi: terminating due to uncaught exception: std::bad_alloc", flush=True)
    os.abort()
if name == "environment":
    told = ("PREFD_", "THREADS", "PYTHON")
    write("told.json", {key: value for key, value in os.environ.items() if any(part in key for part in told)})
if name == "once":
    open("again", "w").close()
while name in ("sleep", "deaf", "noisy") or (name == "once" and first):
    if name == "noisy":
        print("x" * 1000, flush=True)
    time.sleep(0.02)
write(command + ".json", {"ok": True, "reason": "", "summary": {"line": "reference: 0 of 16 completions scored"}})
"""


def catalog(value: dict[str, Any] | None = None) -> Catalog:
    return Catalog.from_json(CATALOG if value is None else value)


def make_worker(folder: Path) -> tuple[str, ...]:
    """A worker command; its catalogue is `folder/catalog.json`, which a test may change."""
    answer = folder / "catalog.json"
    answer.write_text(json.dumps(CATALOG))
    script = folder / "fake_worker.py"
    script.write_text(f"CATALOG_FILE = {str(answer)!r}\n{SCRIPT}")
    return (sys.executable, "-I", "-S", str(script))


def model_folder(folder: Path) -> Path:
    """What passes for a model without being opened."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def spec_text(folder: Path, name: str = "ok", **more: Any) -> str:
    """A spec (JSON, so YAML too) over a stand-in model and a data file in `folder`."""
    (folder / "pairs.jsonl").write_text("{}\n")
    spec = {
        "name": name,
        "model": str(model_folder(folder / "model")),
        "data": {"path": str(folder / "pairs.jsonl")},
        "training": {"iters": 2},
    }
    return json.dumps(spec | more)


def wait_for(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Until `true()`; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
