from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from prefd.daemon.machine.anonymous_memory import open_anonymous_memory, size_anonymous_memory

RAM_DISK = Path("/dev/shm")


@pytest.mark.parametrize("as_mac", [False, True])
def test_what_one_descriptor_writes_another_reads_and_no_name_is_left(
    monkeypatch: pytest.MonkeyPatch, as_mac: bool
) -> None:
    if as_mac:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = open_anonymous_memory()
    assert not os.get_inheritable(descriptor)
    size_anonymous_memory(descriptor, 5000)
    other = os.dup(descriptor)
    with mmap.mmap(descriptor, 5000) as mapping:
        mapping[4990:5000] = b"the  state"
    os.close(descriptor)
    with mmap.mmap(other, os.fstat(other).st_size) as mapping:
        assert mapping[4990:5000] == b"the  state"
    os.close(other)
    if RAM_DISK.is_dir():
        assert not [path for path in RAM_DISK.glob("prefd-*") if not path.is_dir()], "other tests have folders there"
