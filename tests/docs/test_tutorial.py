"""The tutorial's steps, from an empty folder to a package that can be published, taken as they stand as far as no network goes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from prefd.daemon.machine import blas
from prefd.daemon.text.parse import parse
from support.contrib_module import build_wheel, pip
from support.jobs_on_disk import make_job, run_precompute, run_training
from support.pages import blocks

PAGE = "docs/writing-a-loss.md"
FILES = [block for language in ("toml", "python", "yaml") for block in blocks(language, PAGE) if block.title]
STEPS = [line for block in blocks("sh", PAGE) for line in block.text.splitlines() if line]
NETWORK = ("pip install prefd ", "twine ")
"""Lines that need one; what they install is here already."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's folder with its files, and an environment of its own with the wheel that they make."""
    folder = tmp_path_factory.mktemp("tutorial")
    first, second, third = STEPS[: STEPS.index(". .venv/bin/activate")]
    assert shlex.split(first)[0] == "mkdir"
    subprocess.run(["sh", "-eu", "-c", first], cwd=folder, check=True)
    package = folder / second.removeprefix("cd ")
    for block in FILES:
        assert (package / block.title).parent.is_dir(), f"the steps make no folder for {block.title}"
        (package / block.title).write_text(block.text, encoding="utf-8")
    wheel = build_wheel(package, package / "dist")
    assert third == "python -m venv .venv"
    environment = package / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    pip("--python", str(environment / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    paths = {"base": str(environment), "platbase": str(environment)}
    parent = Path(sysconfig.get_path("purelib", vars=paths)) / "parent.pth"  # prefd and pytest, as installed here
    parent.write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8")
    return package


def take(package: Path, step: str, home: Path) -> str:
    """What a step prints."""
    assert step in STEPS
    program, *arguments = shlex.split(step)
    module = {"prefd": "prefd.daemon.cli", "pytest": "pytest"}[program]
    command = [str(package / ".venv" / "bin" / "python"), "-P", "-m", module, *arguments]
    environment: Mapping[str, str] = os.environ | {"PREFD_HOME": str(home), "COLUMNS": "200"}
    if library := blas.preload():
        environment = {**environment, "PREFD_BLAS": library}
    done = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_steps_are_known() -> None:
    """A step that is added is taken in a test here, or needs a network."""
    programs_of_steps = {"mkdir", "cd", "python", ".", "pytest", "prefd"}
    for step in STEPS:
        assert (
            step.startswith(NETWORK) or step == "pip install --editable ." or shlex.split(step)[0] in programs_of_steps
        ), step


@pytest.mark.slow
@pytest.mark.thorough  # the loss is checked below
def test_its_own_tests_pass(package: Path, home: Path) -> None:
    assert "2 passed" in take(package, "pytest", home)


@pytest.mark.slow
def test_the_installed_plugin_is_listed(package: Path, home: Path) -> None:
    printed = take(package, "prefd plugins", home)
    assert re.search(r"prefd-squared:squared\s+0\.1\.0\s+entry point\s+losses: squared", printed)


@pytest.mark.slow
def test_the_loss_keeps_the_contract(package: Path, home: Path) -> None:
    assert "failed" not in take(package, "prefd check-loss squared", home)


def test_the_spec_trains_with_the_loss(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    """In this process, with the loss's file as a plugin of the home; that an installed one is found has its own test."""
    (loss,) = (block for block in FILES if block.title.endswith("__init__.py"))
    (spec,) = (block for block in FILES if block.title == "squared.yaml")
    spec_document = parse(spec.text.encode(), ".yaml").value
    job = make_job(
        home, **spec_document | {"model": str(tiny_model), "data": spec_document["data"] | {"path": str(pairs_file)}}
    )
    (home / "squared.py").write_text(loss.text, encoding="utf-8")
    (home / "config.toml").write_text('plugins = ["squared.py"]', encoding="utf-8")
    run_precompute(job)
    run_training(job)
    steps = [line["loss"] for line in job.run.read_metrics() if "loss" in line]
    assert len(steps) == 10
    assert steps[0] == pytest.approx(4.0, abs=1e-3)  # (0 − 2)²


@pytest.mark.slow
def test_the_wheel_registers_the_loss(package: Path) -> None:
    (wheel,) = (package / "dist").glob("prefd_squared-0.1.0-*.whl")
    with zipfile.ZipFile(wheel) as files:
        (entry_points,) = (name for name in files.namelist() if name.endswith("entry_points.txt"))
        assert files.read(entry_points).decode() == "[prefd]\nsquared = prefd_squared\n"
