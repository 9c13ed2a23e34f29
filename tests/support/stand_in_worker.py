"""A stand-in for `prefd.daemon.worker`: as quick as an empty script, and it does what the job's name says.

    python -I -S stand_in_worker.py CATALOG_FILE catalog|precompute|training --home HOME [--job ID]

It runs in the job's folder, as the real one does. A name with `@` is that of one phase: `crash@training` crashes in
training and precomputes well. `catalog` prints the text of CATALOG_FILE, or, after a `!`, ends with it on stderr; `ready`
prints {}. No task does anything while there is a `trouble.txt` beside CATALOG_FILE.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

HANG = "[METAL] Command buffer execution failed: Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)"
STOPPED, NO_ROOM, NOT_READY, NO_NETWORK, NO_MEMORY, DEVICE_TROUBLE, NO_DEVICE, NO_FILE = 75, 74, 73, 69, 71, 72, 70, 77


def main(catalog_file: str, task: str) -> None:
    refuse_where_the_machine_does(catalog_file)
    if task == "ready":
        print("{}")
    elif task == "catalog":
        print_catalog(catalog_file)
    elif task == "pairs":
        score_pairs()
    elif task == "report":
        report()
    else:
        run_phases(task)


def refuse_where_the_machine_does(catalog_file: str) -> None:
    """End as a worker of a half-installed prefd does, with the text of `trouble.txt` beside the catalogue, while that is there."""
    path = os.path.join(os.path.dirname(catalog_file), "trouble.txt")
    if os.path.exists(path):
        with open(path) as file:
            sys.exit(file.read())


def print_catalog(catalog_file: str) -> None:
    with open(catalog_file) as file:
        text = file.read()
    if text.startswith("!"):
        sys.exit(text[1:])
    print(text)


def score_pairs() -> None:
    """Score the pairs of a job: while there is a file `slow` in the home it takes its time, and with a file `broken` it cannot.

    With a file `display` the GPU ends its passes, and with one that says "once" those of one worker.
    """
    home = sys.argv[sys.argv.index("--home") + 1]
    job = json.load(sys.stdin)["job"]
    with open(os.path.join(home, "scored.txt"), "a") as file:
        file.write(f"{job}\n")
    while os.path.exists(os.path.join(home, "slow")):
        time.sleep(0.02)
    display = os.path.join(home, "display")
    if os.path.exists(display):
        with open(display) as file:
            once = file.read() == "once"
        if once:
            os.remove(display)
        sys.exit(f"RuntimeError: {HANG}")
    if os.path.exists(os.path.join(home, "broken")):
        print(json.dumps({"error": "the pairs are not those of the job"}))
        sys.exit(1)
    print("{}")


def report() -> None:
    """Report a job: what it was told goes to a file, beside which it waits, fails or hangs as the reporter's name says."""
    home = sys.argv[sys.argv.index("--home") + 1]
    request = json.loads(sys.stdin.readline())
    report_file = os.path.join(home, f"told-{request['to']}-{request['job']}.txt")
    if request["to"] == "failing":
        print(json.dumps({"error": "no route to host"}))
        sys.exit(1)
    if request["to"] == "dying":
        die(signal.SIGSEGV)
    line = sys.stdin.readline()
    with open(report_file, "a") as file:
        file.write(f"{request['project']} {json.loads(line)['state'] if line else 'goes on'}\n")
    while request["to"] == "hanging":
        time.sleep(1)
    print("{}")


def run_phases(phase: str) -> None:
    """Run the phase, and the one that the daemon names then, as the real worker does."""
    line = socket.socket(fileno=int(sys.argv[sys.argv.index("--next-phase") + 1]))
    while phase:
        run_phase(phase)
        line.sendall(b"ended\n")
        phase = line.recv(64).decode().strip()


def run_phase(phase: str) -> None:
    with open("spec.json") as file:
        document = json.load(file)
    name, _, only = document.get("spec", document)["name"].partition("@")
    behaviour = BEHAVIOURS.get(name) if only in ("", phase) else None
    with open("starts.txt", "a") as file:
        file.write(f"{phase} {os.getpid()}\n")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour is deaf else stop)
    print("hello from", phase, flush=True)
    if behaviour in (offline, in_cloud, interrupted):  # nothing is counted before all is there
        behaviour(phase)
    write("progress.json", {"phase": phase, "done": 1, "total": 2, "unit": "completion"})
    if behaviour is not None:
        behaviour(phase)
    write(f"{phase}.json", {"ok": True, "reason": "", "summary": {"line": "reference: 0 of 16 completions scored"}})


def write(file_name: str, value: object) -> None:
    with open(file_name + "~", "w") as file:
        json.dump(value, file)
    os.replace(file_name + "~", file_name)


def stop(*_: object) -> None:
    print("stopping", flush=True)
    sys.exit(STOPPED)


def die(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def is_first_run() -> bool:
    """Whether the job was never run by this behaviour before."""
    try:
        open("again", "x").close()
    except FileExistsError:
        return False
    return True


def fail(phase: str) -> None:
    """It says why it failed."""
    write(f"{phase}.json", {"ok": False, "reason": "data.path: no column called chosen"})
    sys.exit(1)


def crash(_: str) -> None:
    raise RuntimeError("an unexpected thing")


def segfault(_: str) -> None:
    die(signal.SIGSEGV)


def killed(_: str) -> None:
    die(signal.SIGKILL)


def mute(_: str) -> None:
    """It ends well and leaves no outcome."""
    sys.exit(0)


def stopped(_: str) -> None:
    """It ends as if it had been told to stop, unasked."""
    sys.exit(STOPPED)


def shaky(_: str) -> None:
    """It crashes the first time that it is run."""
    if is_first_run():
        die(signal.SIGSEGV)


def steps(_: str) -> None:
    """It crashes five times, each time a checkpoint further."""
    os.makedirs("checkpoints", exist_ok=True)
    step = len(os.listdir("checkpoints"))
    if step < 5:
        os.mkdir(f"checkpoints/step-{step:08}")
        die(signal.SIGSEGV)


def greedy(_: str) -> None:
    """It takes 300 MB, and keeps them."""
    memory = bytearray(300_000_000)
    time.sleep(20)
    del memory


def full(_: str) -> None:
    """It finds no room four times."""
    with open("full", "a") as file:
        file.write("x")
    if os.path.getsize("full") < 5:
        print("[Errno 28] No space left on device", flush=True)
        sys.exit(NO_ROOM)


def offline(_: str) -> None:
    """It cannot reach the hub while there is a file `offline` in the home."""
    if os.path.exists("../../offline"):
        print("model org/name: it could not be downloaded (no route to host)", flush=True)
        sys.exit(NO_NETWORK)


def in_cloud(_: str) -> None:
    """Its pairs are in a cloud while there is a file `evicted` in the home."""
    if os.path.exists("../../evicted"):
        print("/iCloud/pairs.jsonl is in the cloud and not on this Mac", flush=True)
        sys.exit(NO_FILE)


def short_of_memory(_: str) -> None:
    """It finds no memory twice."""
    with open("short", "a") as file:
        file.write("x")
    if os.path.getsize("short") < 3:
        print("RuntimeError: [METAL] Command buffer execution failed: Insufficient Memory", flush=True)
        sys.exit(NO_MEMORY)


def too_large_to_fuse(_: str) -> None:
    """It has trained, and finds no memory for its outputs."""
    with open("progress.json", "w") as file:
        json.dump({"phase": "training", "done": 0, "total": 1, "unit": "outputs"}, file)
    print("std::bad_alloc", flush=True)
    sys.exit(NO_MEMORY)


def interrupted(_: str) -> None:
    """Its passes are ended by the GPU while there is a file `display` in the home, however short they are."""
    if os.path.exists("../../display"):
        print(
            "RuntimeError: [METAL] Command buffer execution failed: Impacting Interactivity "
            "(0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)",
            flush=True,
        )
        sys.exit(DEVICE_TROUBLE)


def refused_when_short(_: str) -> None:
    """It finds no memory once, and the GPU then refuses what it would save."""
    if is_first_run():
        print("what was trained since step 3 cannot be saved either: [METAL] Command buffer execution failed: ")
        print(
            "Ignored (for causing prior/excessive GPU errors) (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)"
        )
        print("RuntimeError: [METAL] Command buffer execution failed: Insufficient Memory", flush=True)
        sys.exit(NO_MEMORY)


def aborted(_: str) -> None:
    """It is aborted by an error of the GPU that nothing caught, once."""
    if is_first_run():
        print("libc++abi: terminating due to uncaught exception of type std::runtime_error: " + HANG, flush=True)
        os.abort()


def unlucky(_: str) -> None:
    """The GPU fails it four times, and then it crashes once."""
    with open("unlucky", "a") as file:
        file.write("x")
    if os.path.getsize("unlucky") < 5:
        print(f"RuntimeError: {HANG}", flush=True)
        sys.exit(DEVICE_TROUBLE)
    if os.path.getsize("unlucky") == 5:
        die(signal.SIGSEGV)


def gate(phase: str) -> None:
    """It waits, in its first phase, for a file `gate` in the home."""
    while phase == "precompute" and not os.path.exists("../../gate"):
        time.sleep(0.02)


def without_gpu(_: str) -> None:
    """It has not the GPU that the settings name, while there is a file `no_gpu` in the home."""
    if os.path.exists("../../no_gpu"):
        print(
            '2026-11-29 10:00:00,123 ERROR worker.device is "gpu" in config.toml, and MLX has no GPU here', flush=True
        )
        sys.exit(NO_DEVICE)


def replaced(_: str) -> None:
    """It cannot import something the first time, as while it is being installed again."""
    if is_first_run():
        print("ImportError: cannot import name 'core' from 'mlx'", flush=True)
        sys.exit(NOT_READY)


def starved(_: str) -> None:
    """It says that it cannot allocate, and aborts."""
    print("libc++abi: terminating due to uncaught exception: std::bad_alloc", flush=True)
    os.abort()


def environment(_: str) -> None:
    """It writes down which of its settings came by the environment."""
    parts = ("PREFD_", "THREADS", "PYTHON")
    write("told.json", {key: value for key, value in os.environ.items() if any(part in key for part in parts)})


def sleep(_: str) -> None:
    """It works until it is stopped."""
    while True:
        time.sleep(0.02)


def deaf(_: str) -> None:
    """As `sleep`, and it ignores SIGTERM."""
    sleep(_)


def noisy(_: str) -> None:
    """As `sleep`, and it logs without end."""
    while True:
        print("x" * 1000, flush=True)
        time.sleep(0.02)


def once(_: str) -> None:
    """It works until it is stopped the first time, and ends well the next."""
    if is_first_run():
        sleep(_)


BEHAVIOURS: dict[str, Callable[[str], None]] = {
    each.__name__: each
    for each in (
        fail,
        crash,
        segfault,
        killed,
        mute,
        stopped,
        shaky,
        steps,
        greedy,
        full,
        short_of_memory,
        too_large_to_fuse,
        interrupted,
        refused_when_short,
        aborted,
        unlucky,
        without_gpu,
        gate,
        offline,
        in_cloud,
        replaced,
        starved,
        environment,
        sleep,
        deaf,
        noisy,
        once,
    )
}
"""By the name of the job; any other name, `ok` among them, ends well at once."""


if __name__ == "__main__":
    main(*sys.argv[1:3])
