import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.home.lock import AlreadyRunning, announce, find_holder, hold_lock, is_held


def test_the_second_daemon_is_told_who_holds_the_home(ready_home: Home) -> None:
    assert find_holder(ready_home) is None
    with hold_lock(ready_home):
        me = announce(ready_home, "/a/socket")
        assert find_holder(ready_home) == me
        assert me.pid == os.getpid()
        with (
            pytest.raises(
                AlreadyRunning,
                match=rf"^another daemon \(pid {me.pid}, since 20.*\) already serves {ready_home.root}; stop it",
            ),
            hold_lock(ready_home),
        ):
            pass
    assert find_holder(ready_home) is None
    assert not (ready_home.run / "daemon.json").exists()
    with hold_lock(ready_home):
        pass


def test_a_crash_releases_the_lock_and_what_it_wrote_is_not_believed(ready_home: Home) -> None:
    code = (
        "import os, sys; from pathlib import Path; from prefd.daemon.home.layout import Home; from prefd.daemon.home import lock\n"
        "home = Home(Path(sys.argv[1]))\n"
        "with lock.hold_lock(home): lock.announce(home, 'x'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(ready_home.root)], check=False).returncode == -9
    assert (ready_home.run / "daemon.json").exists()
    assert find_holder(ready_home) is None
    with hold_lock(ready_home):
        assert is_held(ready_home)
        assert find_holder(ready_home) is None, "the next one has not said its name yet"


def test_a_file_system_without_locks_is_told_with_the_remedy(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(HomeUnusable, match=r"cannot lock files.*keep it on this machine's own disk"),
        hold_lock(ready_home),
    ):
        pass


def test_those_who_ask_at_the_same_time_do_not_take_each_other_for_a_daemon(ready_home: Home) -> None:
    with hold_lock(ready_home):
        announce(ready_home, "/a/socket")
        announcement = (ready_home.run / "daemon.json").read_bytes()
    (ready_home.run / "daemon.json").write_bytes(announcement)  # left by a daemon that was killed
    with ready_home.lock.open() as another:
        fcntl.flock(another, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as `is_held` does in another process
        assert not is_held(ready_home)
        assert find_holder(ready_home) is None


def test_a_glance_at_the_lock_does_not_stop_a_daemon_from_starting(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        assert not is_held(ready_home)
        with hold_lock(ready_home):
            assert is_held(ready_home)


def test_a_home_that_is_not_there_is_not_held(home: Path) -> None:
    assert not is_held(Home(home))
