"""No locale, closed stream, gone reader or full disk ends a command in a traceback, or changes what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.streams import Outlet
from support import homes
from support.broken_streams import CONDITIONS
from support.once import make_once
from support.programs import program, program_environment

COMMANDS = [
    *(["status"], ["status", "--json"], ["jobs"], ["jobs", "--json"], ["show", "1"], ["show", "1", "--json"], ["show", "9"]),
    *(["logs", "1"], ["metrics", "1"], ["metrics", "1", "--json"], ["compare", "1", "2"], ["cache", "ls"], ["wait", "1", "2"]),
    *(["watch", "1"], ["events"], ["completion", "bash"], ["--help"], ["jobs", "--help"], ["no-such-command"], ["cancel", "3"]),
    *(["pause"], ["pause", "--json"], ["resume"], ["init"], ["stop"]),
]  # fmt: skip

DOCUMENTS = ["jobs --json", "show 1 --json", "metrics 1 --json", "status --json"]
READ = {each: ["ascii", "latin-1"] for each in ["jobs", *DOCUMENTS]} | {"jobs --json": ["ascii", "latin-1", "full"]}
"""The conditions under which a test reads what a command wrote."""

Results = dict[str, dict[str, tuple[int, str, str]]]
Pairs = list[tuple[list[str], list[str]]]


def choose_pairs() -> Pairs:
    """Return each command with two broken conditions, every condition in turn, and with those that a test reads."""
    broken = [name for name in CONDITIONS if name != "whole"]
    pairs = []
    for row, command in enumerate(COMMANDS):
        turn = {broken[(2 * row + offset) % len(broken)] for offset in range(2)}
        wanted = {"whole", *turn, *READ.get(" ".join(command), ())}
        pairs.append((command, [name for name in CONDITIONS if name in wanted]))
    return pairs


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What came of each command under some conditions."""
    outputs: Results = make_once(tmp_path_factory, "streams", lambda: run_all(tmp_path_factory, choose_pairs()))
    return outputs


@pytest.fixture(scope="module")
def all_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What came of each command under each condition."""
    pairs: Pairs = [(command, list(CONDITIONS)) for command in COMMANDS]
    results: Results = make_once(tmp_path_factory, "all-streams", lambda: run_all(tmp_path_factory, pairs))
    return results


def run_all(factory: pytest.TempPathFactory, pairs: Pairs) -> Results:
    folder = factory.mktemp("streams")
    home = Home(folder / "home")
    homes.add_done(home, name="naïve ☕ Größe − β ≥ 日本")
    homes.add_failed(home, name="plain", reason="− β ≥ ☕")
    homes.add_queued(home, name="☕")
    done = subprocess.run(
        program("support.broken_streams", home.root),
        input=json.dumps(pairs),
        env=program_environment(TMPDIR=str(folder)),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("command", [" ".join(command) for command in COMMANDS])
def test_no_stream_ends_a_command_in_a_traceback(results: Results, command: str) -> None:
    assert len(results[command]) >= 3
    assert_no_traceback(results[command])


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("command", [" ".join(command) for command in COMMANDS])
def test_no_stream_of_any_kind_ends_a_command_in_a_traceback(all_results: Results, command: str) -> None:
    assert all_results[command].keys() == CONDITIONS.keys()
    assert_no_traceback(all_results[command])


def test_each_condition_is_met_by_several_commands() -> None:
    met = Counter(name for _, names in choose_pairs() for name in names)
    assert met.keys() == CONDITIONS.keys()
    assert min(met.values()) >= 4


def assert_no_traceback(by_condition: dict[str, tuple[int, str, str]]) -> None:
    whole = by_condition["whole"]
    assert whole[0] < 90, whole
    for condition, (code, _, errors) in by_condition.items():
        assert "Traceback" not in errors, (condition, errors)
        assert code == whole[0] or (condition == "full" and code == 1), (condition, code, errors)


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", DOCUMENTS)
def test_json_is_utf8_in_any_locale(results: Results, command: str, condition: str) -> None:
    document = json.loads(results[command][condition][1])
    assert document["schema"] == 1
    if command == "show 1 --json":
        assert "naïve ☕ Größe − β ≥ 日本" in json.dumps(document, ensure_ascii=False)


@pytest.mark.slow
def test_what_a_locale_lacks_is_replaced_and_the_rest_is_shown(results: Results) -> None:
    assert "na?ve ? Gr??e ? ? ? ??" in results["jobs"]["ascii"][1]
    text = results["jobs"]["latin-1"][1].encode("utf-8", "surrogateescape").decode("latin-1")
    assert "naïve ? Größe ? ? ? ??" in text


@pytest.mark.slow
def test_a_full_disk_is_told(results: Results) -> None:
    assert (
        results["jobs --json"]["full"][2]
        == "error: the disk refuses: No space left on device; what was written whole by then stays\n"
    )


# --- the outlet itself


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        with suppress(OSError):
            os.close(descriptor)


def test_an_outlet_drops_what_nobody_reads_unless_its_reader_counts(pipe: tuple[int, int]) -> None:
    read, write = pipe
    outlet, endless = Outlet(write), Outlet(write)
    endless.needs_reader = True
    assert outlet.write(b"read") == 4
    os.close(read)
    assert outlet.write(b"unread") == 6
    with pytest.raises(BrokenPipeError):
        endless.write(b"unread")
    assert endless.write(b"told once") == 9


def test_an_outlet_waits_for_a_slow_reader_of_a_pipe_that_does_not_block(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    outlet = Outlet(write)
    payload = b"x" * 200_000
    if (pid := os.fork()) == 0:
        os.close(write)
        left = len(payload)
        while left:
            left -= len(os.read(read, 4096))
        os._exit(0)
    sent = 0
    while sent < len(payload):
        sent += outlet.write(payload[sent:])
    assert os.waitpid(pid, 0)[1] == 0


def test_an_endless_command_ends_with_its_reader(ready_home: Home) -> None:
    job = homes.add_queued(ready_home)
    homes.run_folder(ready_home, job).log.write_text("line\n" * 50_000)
    follow = subprocess.Popen(
        [sys.executable, "-m", "prefd.daemon.cli", "--home", str(ready_home.root), "logs", str(job.id), "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"line\n"
    follow.stdout.close()
    log = homes.run_folder(ready_home, job).log
    with log.open("a") as file:
        file.write("line\n" * 50_000)
    assert follow.wait(60) == 0
    assert follow.stderr is not None
    assert follow.stderr.read() == b""
    follow.stderr.close()


def test_a_worker_writes_utf8_whatever_the_environment_says(tmp_path: Path) -> None:
    from prefd.daemon.machine.interpreter import PYTHON, UTF8_STREAMS

    code = "import sys; print(sys.flags.utf8_mode, sys.getfilesystemencoding()); print('− \\udcff')"
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"} | UTF8_STREAMS
    output = subprocess.run([*PYTHON, "-c", code], env=environment, capture_output=True, check=True).stdout
    assert output == "1 utf-8\n− \\udcff\n".encode()
