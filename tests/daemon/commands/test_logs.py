from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from support import homes
from support.homes import invoke


@pytest.fixture
def there(home: Path) -> Home:
    return Home(home)


def test_logs_are_what_the_workers_wrote(there: Home) -> None:
    homes.add_done(there)
    assert invoke(there, "logs", 1).stdout == "loading the model\nscoring 212 completions\ndone\n"
    assert invoke(there, "logs", 1, "--last", 1).stdout == "done\n"
    assert invoke(there, "logs", 1, "-n", 0).stdout == ""
    assert json.loads(invoke(there, "logs", 1, "--json").stdout)["lines"][0] == "loading the model"


def test_logs_survive_broken_utf8(there: Home) -> None:
    homes.add_done(there)
    (there.job(1) / "worker.log").write_bytes(b"caf\xe9\n")
    assert invoke(there, "logs", 1).stdout == "caf�\n"


def test_a_job_without_log_says_where_it_stands(there: Home) -> None:
    homes.add_queued(there)
    result = invoke(there, "logs", 1)
    assert result.exit_code == Exit.OK
    assert result.stdout == ""
    assert "no log yet: it is queued" in result.stderr


def test_follow_prints_what_comes_and_ends_with_the_job(there: Home) -> None:
    homes.add_running(there)

    def work() -> None:
        time.sleep(0.4)
        with (there.job(1) / "worker.log").open("a") as log:
            log.write("step 5\n")
        with JobTable.open(there.database) as jobs:
            jobs.transition(1, "done")
        with (there.job(1) / "worker.log").open("a") as log:
            log.write("the last line\n")

    worker = threading.Thread(target=work)
    worker.start()
    result = invoke(there, "logs", 1, "-f", "-n", 1)
    worker.join()
    assert result.stdout == "done\nstep 5\nthe last line\n"


def test_follow_and_json_do_not_go_together(there: Home) -> None:
    homes.add_done(there)
    assert invoke(there, "logs", 1, "-f", "--json").exit_code == Exit.USAGE
