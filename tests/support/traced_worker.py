"""A stand-in for the worker that writes down, outside of every home, what it trained, where, and who stopped it.

    python -I -S traced_worker.py CATALOG_FILE catalog|ready|training --home HOME --job ID

It believes whatever its folder holds: it goes on from any checkpoint, so a folder of another job makes another adapter.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time

STOPPED = 75
STEP_SECONDS, SAVE_EVERY = 0.02, 2


def main(catalog_file: str, task: str) -> None:
    if task == "ready":
        print("{}")
        return
    if task == "catalog":
        with open(catalog_file) as file:
            print(file.read())
        return
    train(os.path.join(os.path.dirname(catalog_file), "trace.jsonl"))


def train(trace: str) -> None:
    with open("spec.json") as file:
        spec = json.load(file)["spec"]
    steps_of_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: steps_of_stop.append(1))
    parent, total = os.getppid(), spec["training"]["iters"]
    step, digest = restore() or (0, begin(spec))
    note(trace, "start", spec["name"], step)
    while step < total:
        time.sleep(STEP_SECONDS)
        step += 1
        digest = advance(digest, step)
        stopped = bool(steps_of_stop) or os.getppid() != parent  # or an orphan
        if step % SAVE_EVERY == 0 or stopped:
            save(step, digest)
        if stopped and step < total:
            note(trace, "stop", spec["name"], step)
            sys.exit(STOPPED)
    os.makedirs("adapter", exist_ok=True)
    write("adapter/adapters.safetensors", digest)
    write("training.json", json.dumps({"ok": True, "reason": f"trained {step} steps", "summary": {"steps": step}}))
    note(trace, "end", spec["name"], step)


def begin(spec: dict[str, object]) -> str:
    """What an adapter of this job is before its first step."""
    return hashlib.sha256(
        json.dumps([spec["name"], spec["loss"], spec["training"]], sort_keys=True).encode()
    ).hexdigest()


def advance(digest: str, step: int) -> str:
    return hashlib.sha256(f"{digest} {step}".encode()).hexdigest()


def restore() -> tuple[int, str] | None:
    names = sorted(os.listdir("checkpoints")) if os.path.isdir("checkpoints") else []
    if not names:
        return None
    with open(os.path.join("checkpoints", names[-1])) as file:
        return int(names[-1].removeprefix("step-")), file.read()


def save(step: int, digest: str) -> None:
    os.makedirs("checkpoints", exist_ok=True)
    write(f"checkpoints/step-{step:08}", digest)


def write(name: str, text: str) -> None:
    beside = os.path.join(os.path.dirname(name), f".{os.path.basename(name)}~")
    with open(beside, "w") as file:
        file.write(text)
    os.replace(beside, name)


def note(trace: str, event: str, name: str, step: int) -> None:
    """Append a line, whole at once, with the folder's inode: that stays when a home is renamed, and no copy has it."""
    line = json.dumps({"event": event, "name": name, "step": step, "folder": os.stat(".").st_ino, "at": os.getcwd()})
    with open(trace, "a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
