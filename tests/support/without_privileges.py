"""What a daemon does about mounts and about the kernel's limits, each in a process with its own of these.

    unshare --user --map-root-user --mount python -m support.without_privileges WHAT FOLDER

Run by tests/whole/test_folder_of_another_user.py; it prints `ok`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import WatchConfig
from prefd.daemon.inbox.claim_marks import make_mark
from support import fake_worker
from support.quick_timing import QUICK_TIMING
from support.running_daemon import QUICK, Place


def unmounted(place: Place) -> None:
    """jobs/ is a mount, which goes away with a file in it, and comes back."""
    server, jobs = place.folder / "server", place.home.jobs
    server.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", server)
    for folder in (place.home.accepted, place.home.rejected):
        folder.rmdir()
    run("mount", "--bind", server, jobs)
    with place.daemon() as client:
        (jobs / "a.yaml").write_text(fake_worker.spec_text(place.folder))
        place.wait_for("done")
        run("umount", "--lazy", jobs)
        (server / "b.yaml").write_text(fake_worker.spec_text(place.folder))  # another machine drops it meanwhile
        fake_worker.wait_for(lambda: "jobs is not mounted (it was tmpfs" in str(client.status().watcher.folder))
        (jobs / "astray.yaml").write_text(fake_worker.spec_text(place.folder))
        time.sleep(0.6)
        assert [path.name for path in jobs.iterdir()] == ["astray.yaml"], "nothing is made or claimed under the mount"
    with place.daemon() as client:  # nor by a daemon that starts without the mount
        fake_worker.wait_for(lambda: client.status().watcher.folder is not None)
        lost = server / "accepted" / "01J00000000000000000000000-c.yaml"  # claimed, and its daemon died
        lost.write_text(fake_worker.spec_text(place.folder))
        make_mark(lost)
        run("mount", "--bind", server, jobs)
        place.wait_for("done", "done", "done")
        assert client.status().watcher.folder is None
        (jobs / "d.yaml").write_text(fake_worker.spec_text(place.folder))
        place.wait_for("done", "done", "done", "done")
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        run("umount", "--lazy", jobs)
    assert [path.name for path in jobs.iterdir()] == ["astray.yaml"]


def full(place: Place) -> None:
    """The home's disk is full when two specs are claimed, a good one and a bad one."""
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place.home.root)
    place.home.create()
    with place.daemon() as client:
        for name, text in (("good", fake_worker.spec_text(place.folder, name="")), ("bad", "nonsense: true")):
            (place.home.jobs / f"{name}.tmp").write_text(text)
        fill(place.home.root / "filler")
        for name in ("good", "bad"):
            (place.home.jobs / f"{name}.tmp").rename(place.home.jobs / f"{name}.yaml")
        fake_worker.wait_for(lambda: len(client.status().watcher.left_alone) == 2)
        message = " ".join(client.status().watcher.left_alone.values())
        assert message.count("is claimed, and is tried again") == 2, message
        assert "full" in message, message
        assert "No space left on device" in message, message
        time.sleep(0.5)
        assert place.jobs() == []
        (place.home.root / "filler").unlink()
        place.wait_for("done")
        fake_worker.wait_for(lambda: "nonsense: unknown key" in place.rejected().get("bad.yaml", ""))
        fake_worker.wait_for(lambda: client.status().watcher.left_alone == {})
    assert sorted(path.name for path in place.home.rejected.iterdir()) == ["bad.yaml", "bad.yaml.error.txt"]


def fill(path: Path) -> None:
    """Write to `path` until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def no_instances(place: Place) -> None:
    """The kernel gives no inotify instance (EMFILE)."""
    without_events(place, "max_inotify_instances", "Too many open files")


def no_watches(place: Place) -> None:
    """The kernel gives no inotify watch (ENOSPC)."""
    without_events(place, "max_inotify_watches", "watch limit reached")


def without_events(place: Place, limit: str, message: str) -> None:
    setting = Path("/proc/sys/user") / limit  # of this user namespace
    before = setting.read_text()
    setting.write_text("0")
    slow = QUICK.model_copy(update={"watch": WatchConfig(settle_seconds=0.05, rescan_seconds=60)})
    with place.daemon(slow) as client:
        fake_worker.wait_for(lambda: message in str(client.status().watcher.error))
        place.drop("a.yaml")
        place.wait_for("done")
        fake_worker.wait_for(lambda: client.status().watcher.mode == "polling")  # but for the moment of each new try
        setting.write_text(before)
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        place.drop("b.yaml")
        place.wait_for("done", "done")
        client.stop(10)


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


def main(what: str, folder: Path) -> None:
    timing = replace(QUICK_TIMING, folder_poll=0.05, last_events_retry=0.1)
    home = Home(folder / "home")
    home.create()
    {"unmounted": unmounted, "full": full, "no_instances": no_instances, "no_watches": no_watches}[what](
        Place(home, folder, fake_worker.make_worker(folder), timing)
    )
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
