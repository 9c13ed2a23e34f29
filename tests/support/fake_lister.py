"""A stand-in for the child that lists the plugins: it does what the name of each plugin file says.

    python -I -S fake_lister.py catalog --home HOME

It says which plugin it begins with, and ends with a catalogue of the files that it was given and that left it alive.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import PurePath


def main() -> None:
    settings = json.loads(os.environ["PREFD_SETTINGS"])
    plugins = []
    for index, path in enumerate(settings["plugins"]):
        following = [each for each in settings["plugins"][index + 1 :] if each not in settings["excluded"]]
        reason = settings["excluded"].get(path)
        if reason is None:
            print(json.dumps({"begin": path, "following": following}), flush=True)
            do(PurePath(path).stem)
        plugins.append(describe(path, reason))
    print(json.dumps({"begin": None}), flush=True)
    if any(
        PurePath(path).stem.startswith("broken") and path not in settings["excluded"] for path in settings["plugins"]
    ):
        sys.exit("AttributeError: module 'sys' has no attribute 'path'")
    print(json.dumps({"losses": {}, "plugins": plugins, "files": []}), flush=True)
    if any(PurePath(path).stem == "thread" for path in settings["plugins"]):
        time.sleep(600)


def describe(path: str, reason: str | None) -> dict[str, object]:
    about = {"name": PurePath(path).stem, "version": None, "source": path}
    return about | {"losses": [], "formats": [], "error": reason}


def do(name: str) -> None:
    if name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("exit"):
        os._exit(int(name.removeprefix("exit")))
    if name.startswith("slow"):
        time.sleep(1)
    if name.startswith("hang"):
        time.sleep(600)
    if name == "closed":
        os.close(1)
        time.sleep(600)
    if name == "noise":
        print("not JSON", flush=True)
        sys.stderr.write("x" * 300_000)


if __name__ == "__main__":
    main()
