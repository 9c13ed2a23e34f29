"""prefd.daemon.machine.blas, and contrib/blas which installs what it looks for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.daemon.machine import blas
from support import contrib_module

install = contrib_module.load("blas/install.py")

linux_cpu = pytest.mark.skipif(not blas.is_wanted(), reason="no BLAS is wanted here")


@pytest.fixture
def fresh() -> Iterator[None]:
    """`preload` remembers its first answer; forget it before and after."""
    blas.preload.cache_clear()
    yield
    blas.preload.cache_clear()


@pytest.fixture
def on_linux(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        sys, "path", [str(Path(folder)) for folder in sys.path if not any(Path(folder).glob("mlx_cuda*"))]
    )


@pytest.mark.usefixtures("on_linux")
def test_none_found_is_one_warning_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blas, "list_candidates", lambda: iter(["libno-such-blas.so.0"]))
    with caplog.at_level(logging.WARNING):
        assert blas.preload() is None
        assert blas.preload() is None
    (record,) = caplog.records
    assert "no fast BLAS found" in record.getMessage()
    assert "apt-get install libopenblas0-pthread" in record.getMessage()
    assert "make blas" in record.getMessage()


@linux_cpu
def test_whether_one_is_missing_is_asked_of_a_child(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setattr(blas, "_load", lambda _: pytest.fail("loaded here"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    is_missing = blas.is_missing()
    monkeypatch.undo()
    assert is_missing == (blas.preload() is None)
    monkeypatch.setattr(blas, "is_wanted", lambda: False)
    assert not blas.is_missing()


@linux_cpu
@pytest.mark.usefixtures("on_linux")
def test_library_without_cblas_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "list_candidates", lambda: iter(["libc.so.6", "libm.so.6"]))
    assert blas.preload() is None


@pytest.mark.usefixtures("on_linux")
def test_file_that_is_no_library_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libopenblas.so.0").write_bytes(b"not a library")
    monkeypatch.setattr(blas, "list_candidates", lambda: iter([tmp_path / "libopenblas.so.0"]))
    assert blas.preload() is None


def test_named_library_comes_first_then_the_environments_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lib" / "prefd-blas").mkdir(parents=True)
    own = tmp_path / "lib" / "prefd-blas" / "libopenblas.so.0"
    own.touch()
    mkl = tmp_path / "lib" / "libmkl_rt.so.2"
    mkl.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PREFD_BLAS", "/opt/blas/libblas.so")
    assert list(blas.list_candidates()) == [
        Path("/opt/blas/libblas.so"),
        own,
        mkl,
        "libopenblas.so.0",
        "libopenblas.so",
    ]


@pytest.mark.usefixtures("fresh")
def test_nothing_is_done_on_macos(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(blas, "list_candidates", lambda: pytest.fail("looked for a BLAS"))
    assert blas.preload() is None
    assert not caplog.records


@pytest.mark.usefixtures("on_linux")
@pytest.mark.parametrize("name", ["mlx_cuda", "mlx_cuda_12", "mlx_cuda_13"])
def test_nothing_is_done_with_cuda(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}-0.32.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "none"), str(tmp_path)])
    monkeypatch.setattr(blas, "list_candidates", lambda: pytest.fail("looked for a BLAS"))
    assert blas.preload() is None
    assert not caplog.records


WHICH_SGEMM = """
import ctypes
from prefd.daemon.machine import blas
named = blas.preload()
import mlx.core as mx
mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
address = ctypes.cast(ctypes.CDLL(None).cblas_sgemm, ctypes.c_void_p).value
for line in open("/proc/self/maps"):
    span, *_, path = line.split()
    low, high = (int(edge, 16) for edge in span.split("-"))
    if low <= address < high:
        print(named, path, sep="\\n")
"""


@linux_cpu
def test_mlx_multiplies_with_the_preloaded_library() -> None:
    """In a new process, the global `cblas_sgemm`, which mlx's own library is bound to, lies in the one named."""
    if blas.preload() is None:
        pytest.skip("no fast BLAS here (make blas)")
    done = subprocess.run([sys.executable, "-c", WHICH_SGEMM], check=True, capture_output=True, text=True)
    named, mapped = done.stdout.splitlines()
    stem = Path(named).name.partition(".so")[0]  # libopenblas.so.0 is a link to libopenblasp-r0.3.so
    assert Path(mapped).name.startswith(stem)
    assert "mlx" not in Path(mapped).parts


def test_installer_leaves_a_working_blas_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blas, "is_wanted", lambda: True)
    monkeypatch.setattr(install, "usable", lambda: "/usr/lib/libopenblas.so.0")
    monkeypatch.setattr(install, "run", lambda *_, **__: pytest.fail("installed something"))
    install.main()
    assert capsys.readouterr().out == "fast BLAS: /usr/lib/libopenblas.so.0\n"


def test_installer_does_nothing_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a BLAS would fail the test."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(install, "usable", lambda: pytest.fail("looked for a BLAS"))
    install.main()


def test_installer_tries_pip_without_apt_and_ends_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[str] = []

    def refuse(command: list[str], **_: object) -> None:
        commands.append(" ".join(command[1:]))
        raise install.Unavailable("no network")

    monkeypatch.setattr(blas, "is_wanted", lambda: True)
    monkeypatch.setattr(install, "usable", lambda: "")
    monkeypatch.setattr(install.shutil, "which", lambda _: None)
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(install, "run", refuse)
    install.main()
    assert commands == ["-m pip install --quiet mkl"]
    messages = capsys.readouterr().err.splitlines()
    assert messages[:-1] == ["no BLAS from apt: there is no apt-get", "no BLAS from pip: no network"]
    assert messages[-1].startswith("warning: no fast BLAS")
    assert blas.INSTALL in messages[-1]


def test_installer_has_no_wheel_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.platform, "machine", lambda: "aarch64")
    with pytest.raises(install.Unavailable, match="aarch64"):
        install.from_pip()


def test_installed_folder_replaces_a_broken_one_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, library = tmp_path / "lib" / "prefd-blas", tmp_path / "found"
    folder.mkdir(parents=True)
    (folder / "half").touch()
    library.mkdir()
    (library / "libopenblas.so.0").touch()
    monkeypatch.setattr(install, "FOLDER", folder)
    install.place(library)
    assert [path.name for path in folder.iterdir()] == ["libopenblas.so.0"]
    assert [path.name for path in folder.parent.iterdir()] == ["prefd-blas"]
