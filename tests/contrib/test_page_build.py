"""contrib/build: pip builds the page with prefd, asks for a Node.js where there is none, and says where it cannot."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from prefd.daemon.home.page_files import STATIC
from support.contrib_module import build_wheel, load
from support.paths import ROOT

NOT_SOURCES = shutil.ignore_patterns("node_modules", "generated", "__pycache__")


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, over a client of three files that was never built, in a build that may fail."""
    module = load("build/page_build.py")
    client = tmp_path / "client"
    (client / "src" / "generated").mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "build.mjs", "src/main.tsx", "src/generated/api.d.ts"):
        (client / name).write_text(name)
    monkeypatch.setattr(module, "CLIENT", client)
    monkeypatch.setattr(module, "STATIC", tmp_path / "static")
    monkeypatch.delenv("PREFD_WEB", raising=False)
    return module


def put_program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH, with stand-ins for node and npm, which write down how they are called."""
    folder = tmp_path / "bin"
    put_program(folder, "node", f'[ "$1" = --version ] && echo v20.1.0 && exit; /bin/mkdir -p {tmp_path}/static')
    put_program(folder, "npm", f'echo "$@" >> {tmp_path}/calls; /bin/mkdir -p node_modules')
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_what_is_built_once_is_not_built_again(build: ModuleType, programs: Path, tmp_path: Path) -> None:
    build.build()
    build.build()
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("ci --ignore-scripts ")
    assert "--omit=dev" in call
    (build.CLIENT / "src" / "generated" / "api.d.ts").write_text("other types")
    assert build.is_current()
    (build.CLIENT / "src" / "main.tsx").write_text("changed")
    assert not build.is_current()
    build.build()
    assert build.is_current()
    assert len((tmp_path / "calls").read_text().splitlines()) == 1, "the lock file is the same"


def test_pip_is_asked_for_a_node_only_where_one_is_needed_and_none_is_there(
    build: ModuleType, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build.list_requirements() == []
    put_program(programs, "node", "echo v18.19.0")
    assert build.list_requirements() == [build.NODE_WHEEL], "it is too old"
    (programs / "node").unlink()
    assert build.list_requirements() == [build.NODE_WHEEL]
    monkeypatch.setenv("PREFD_WEB", "off")
    assert build.list_requirements() == []


def test_without_a_registry_the_install_goes_on_and_says_so_unless_the_page_is_required(
    build: ModuleType, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_program(programs, "npm", "echo npm error code ECONNREFUSED >&2; exit 1")
    build.build_if_possible()
    warning = capsys.readouterr().err
    assert "prefd is installed with no page" in warning
    assert "ECONNREFUSED" in warning
    monkeypatch.setenv("PREFD_WEB", "required")
    with pytest.raises(build.CannotBuild, match="ECONNREFUSED"):
        build.build_if_possible()


@pytest.mark.slow
def test_a_wheel_of_this_checkout_holds_the_page_and_none_of_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (STATIC / "index.html").exists() and os.environ.get("PREFD_WEB") != "required":
        pytest.skip("the page is not built here (make page)")
    for name in ("daemon", "cache", "plugins", "contrib/build"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=NOT_SOURCES)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    monkeypatch.setenv("PREFD_WEB", "required")
    names = zipfile.ZipFile(build_wheel(tmp_path / "source", tmp_path)).namelist()
    page = {name.removeprefix("prefd/daemon/page/static/") for name in names if "/page/static/" in name}
    assert "index.html" in page
    assert {Path(name).suffix for name in page if name.startswith("assets/")} >= {".js", ".css"}
    assert not [name for name in names if "client" in name and "/page/" in name]
