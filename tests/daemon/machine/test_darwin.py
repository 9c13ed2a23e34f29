"""What macOS tells of processes, by a stand-in for its library: a Mac's own answers are in the same structures."""

import os
import sys

import psutil
import pytest

from prefd.daemon.health.usage import measure_memory
from prefd.daemon.machine import darwin, memory, processes
from prefd.daemon.machine.darwin import ProcessFacts, ProcessUsage
from prefd.daemon.machine.processes import ProcessId
from support.fake_libsystem import FakeLibrary

BOOT = b"1C5D2B1E-0F6B-4A7B-9D8C-1E2F3A4B5C6D"


class Mac:
    """A Mac whose processes are those that are written into `facts`."""

    def __init__(self) -> None:
        self.facts: dict[int, ProcessFacts] = {}
        self.library = FakeLibrary(self.facts.get, {b"kern.bootsessionuuid": BOOT})


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Mac:
    mac = Mac()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(darwin, "load_library", lambda: mac.library)
    monkeypatch.setattr(processes, "boot_id", processes.boot_id.__wrapped__)  # another boot than the one it has kept
    return mac


def test_the_structure_is_the_kernels() -> None:
    offsets = {name: getattr(ProcessUsage, name).offset for name, _ in ProcessUsage._fields_}
    assert (offsets["resident_size"], offsets["phys_footprint"], offsets["start_abstime"]) == (64, 72, 80)


def test_memory_is_the_footprint_and_not_what_is_resident(mac: Mac) -> None:
    me = psutil.Process()
    mac.facts[me.pid] = ProcessFacts(100.0, 12_000_000_000)
    assert memory.private_bytes(me) == 12_000_000_000
    assert (measure_memory(me.pid) or 0) >= 12_000_000_000


def test_without_an_answer_what_is_resident_is_counted(mac: Mac) -> None:
    assert 0 < memory.private_bytes(psutil.Process()) < 12_000_000_000


@pytest.mark.parametrize(("level", "word"), [(1, ""), (2, "high"), (4, "critical"), (8, "level 8"), (None, None)])
def test_memory_pressure_has_words(mac: Mac, level: int | None, word: str | None) -> None:
    if level is not None:
        mac.library.settings[b"kern.memorystatus_vm_pressure_level"] = level.to_bytes(4, sys.byteorder)
    assert memory.read_pressure() == word


def test_a_process_is_known_by_the_boot_and_the_seconds_since(mac: Mac) -> None:
    mac.facts[os.getpid()] = ProcessFacts(1234.5, 1)
    process = ProcessId.find(os.getpid())
    assert process == ProcessId(os.getpid(), pytest.approx(1234.5, abs=1e-6), BOOT.decode())
    assert process.is_alive()


def test_a_clock_that_was_set_makes_nobody_a_stranger(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    mac.facts[os.getpid()] = ProcessFacts(1234.5, 1)
    process = ProcessId.find(os.getpid())
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 0.0)  # psutil's follow the clock there
    assert process is not None
    assert process.is_alive()


def test_a_pid_that_was_given_out_again_is_another_process(mac: Mac) -> None:
    mac.facts[os.getpid()] = ProcessFacts(1234.5, 1)
    process = ProcessId.find(os.getpid())
    assert process is not None
    mac.facts[os.getpid()] = ProcessFacts(1234.6, 1)
    assert not process.is_alive()
    del mac.facts[os.getpid()]
    assert not process.is_alive()
    assert ProcessId.find(os.getpid()) is None


def test_a_process_of_another_boot_is_gone(mac: Mac) -> None:
    mac.facts[os.getpid()] = ProcessFacts(1234.5, 1)
    process = ProcessId.find(os.getpid())
    mac.library.settings[b"kern.bootsessionuuid"] = b"another"
    assert process is not None
    assert not process.is_alive()


def test_a_kernel_that_names_no_boot_leaves_psutils_start_times(mac: Mac) -> None:
    mac.library.settings.clear()
    process = ProcessId.find(os.getpid())
    assert process == ProcessId(os.getpid(), psutil.Process().create_time(), "")
    assert process.is_alive()


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is")
def test_there_is_no_such_library_elsewhere() -> None:
    assert darwin.load_library() is None
    assert darwin.read_facts(os.getpid()) is None
    assert darwin.read_boot_id() == ""
