from pathlib import Path

from prefd.daemon.machine.cgroups import MemoryGroup, memory_groups


def test_its_own_group_comes_first_and_those_around_it_behind(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("8:pids:/x\n4:cpu,memory:/a/b\nnonsense\n0::/c\n")
    old, new = memory_groups(Path("/g"), own)
    v1 = [Path("/g/memory/a/b"), Path("/g/memory/a"), Path("/g/memory")]
    assert old == [MemoryGroup(each / "memory.limit_in_bytes", each / "memory.oom_control") for each in v1]
    assert new == [MemoryGroup(each / "memory.max", each / "memory.events") for each in (Path("/g/c"), Path("/g"))]


def test_without_control_groups_there_are_none(tmp_path: Path) -> None:
    assert list(memory_groups(tmp_path, tmp_path / "none")) == []
