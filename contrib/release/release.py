"""Build sdist and wheel in dist/, install the wheel in two fresh environments as its users would, and run jobs there.

make release          build and try
make release TAG=1    also demand that the release is ready, and tag it
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

from trial import JobFailed, run_jobs

ROOT = Path(__file__).parent.parent.parent
DIST = ROOT / "dist"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION: str = PROJECT["project"]["version"]
PAGE = "prefd/daemon/page/static/"
EXTRA = "" if sys.platform == "darwin" else "[cpu]"


class NotReady(Exception):
    """NotReady says why this is no release, to the person who asked for one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", action="store_true", help="tag it when everything has passed")
    options = parser.parse_args()
    try:
        if options.tag:
            refuse_unready(git)
        wheel = build()
        check_content(wheel)
        for name, install in INSTALLERS.items():
            try_wheel(name, install, wheel)
        if options.tag:
            git("tag", "--annotate", f"v{VERSION}", "--message", f"prefd {VERSION}")
            print(f"tagged v{VERSION}; `git push origin v{VERSION}` publishes the tag")
    except (NotReady, JobFailed) as error:
        raise SystemExit(f"error: {error}") from error


def refuse_unready(git: Callable[..., str]) -> None:
    """Raises `NotReady` for a tag that exists, uncommitted work, and changes that the changelog does not have."""
    if git("tag", "--list", f"v{VERSION}"):
        raise NotReady(f"v{VERSION} is tagged already: raise the version in pyproject.toml")
    if git("status", "--porcelain"):
        raise NotReady("there is uncommitted work: commit it, so that the tag names what was tried")
    changes = [path.name for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]
    if changes:
        raise NotReady(f"not in CHANGELOG.md yet: {len(changes)} of changes/; `towncrier build --version {VERSION}`")
    if f"\n## {VERSION} (" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        raise NotReady(f"CHANGELOG.md has no section for {VERSION}: `towncrier build --version {VERSION}`")


def build() -> Path:
    """The wheel, built from the sdist, so that the sdist is known to be whole."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    run(sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir())
    (wheel,) = DIST.glob(f"prefd-{VERSION}-*.whl")
    return wheel


def check_content(wheel: Path) -> None:
    """Raises `NotReady` unless the wheel holds exactly the modules of the checkout, the page, and says that they have types."""
    folders: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
    expected = {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in folders.items()
        for path in [*(ROOT / folder).rglob("*.py"), ROOT / folder / "py.typed"]
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if PAGE + "index.html" not in names:
        raise NotReady(f"{wheel.name} has no page: build it where npm's registry can be reached")
    held = {name for name in names if not name.startswith(PAGE)}
    if held != expected:
        raise NotReady(f"{wheel.name} lacks {sorted(expected - held)} and has {sorted(held - expected)} too many")


def try_wheel(name: str, install: Callable[[Path, str], Path], wheel: Path) -> None:
    """Install the wheel under a folder that is removed again, and run the jobs with the Python it was installed for."""
    with tempfile.TemporaryDirectory(prefix=f"prefd-{name}-") as folder:
        python = install(Path(folder), f"prefd{EXTRA} @ {wheel.as_uri()}")
        print(f"{name}: installed; running two jobs", flush=True)
        run_jobs(python, Path(folder) / "work", VERSION)
        print(f"{name}: ok", flush=True)


def with_pip(folder: Path, requirement: str) -> Path:
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", folder / "venv")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement)
    return python


def with_uv(folder: Path, requirement: str) -> Path:
    places = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    command = ("tool", "install", "--quiet", "--no-config", "--python", sys.executable, requirement)
    run(sys.executable, "-m", "uv", *command, env=os.environ | places)
    if not (folder / "bin" / "prefd").exists():
        raise NotReady("`uv tool install` made no `prefd` command")
    return folder / "tools" / "prefd" / "bin" / "python"


INSTALLERS: dict[str, Callable[[Path, str], Path]] = {"pip": with_pip, "uv": with_uv}


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *words], check=True, capture_output=True, text=True).stdout.strip()


def run(*command: object, env: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    if subprocess.run(words, env=env, check=False).returncode:
        raise NotReady(f"{' '.join(words)} failed")


if __name__ == "__main__":
    main()
