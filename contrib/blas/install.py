"""Put a fast BLAS for MLX on Linux CPU into this virtual environment; no root, nothing outside it is changed.

MLX's CPU wheel brings the reference BLAS, some forty times slower than OpenBLAS. Debian's and Ubuntu's OpenBLAS is
fetched with apt-get, which can do so for any user when it keeps its package lists in a folder of ours, and unpacked to
`<venv>/lib/prefd-blas/`, where `prefd.daemon.machine.blas` looks first. Where there is no apt, the `mkl` wheel serves on
x86-64 (1.1 GB installed). Does nothing on macOS, with MLX's CUDA backend, or when a usable BLAS is there already.

    .venv/bin/python contrib/blas/install.py
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from prefd.daemon.machine import blas

LIBRARIES = {  # package: the file to take from it, under the name that the loader asks for
    "libopenblas0-pthread": "libopenblas.so.0",
    "libgfortran5": "libgfortran.so.5",
    "libquadmath0": "libquadmath.so.0",
}
OPTIONAL = {"libquadmath0"}  # exists only where long double is not 128 bits wide
FOLDER = Path(sys.prefix) / "lib" / "prefd-blas"
FIND = "import logging; logging.disable(); from prefd.daemon.machine import blas; print(blas.preload() or '')"


class Unavailable(Exception):
    """This way of getting a BLAS is closed here; the message says why."""


def main() -> None:
    if not blas.is_wanted():
        print("no BLAS needed: MLX does not compute on the CPU backend of Linux here")
        return
    if library := usable():
        print(f"fast BLAS: {library}")
        return
    for get in (from_apt, from_pip):
        try:
            get()
        except Unavailable as reason:
            print(f"no BLAS {get.__name__.replace('_', ' ')}: {reason}", file=sys.stderr)
            continue
        if library := usable():
            print(f"fast BLAS: {library}")
            return
        print(f"the BLAS {get.__name__.replace('_', ' ')} cannot be loaded", file=sys.stderr)
    print(f"warning: no fast BLAS: MLX will run about 40 times slower. Install one: {blas.INSTALL}", file=sys.stderr)


def usable() -> str:
    """The BLAS that a new process of prefd finds; empty when there is none."""
    return subprocess.run([sys.executable, "-c", FIND], check=True, capture_output=True, text=True).stdout.strip()


def from_apt() -> None:
    """Unpack OpenBLAS and what it needs from the distribution's packages."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"there is no {tool}")
    with tempfile.TemporaryDirectory(prefix="prefd-blas-") as scratch:
        work = Path(scratch)
        folder = work / "found"
        folder.mkdir()
        print("fetching OpenBLAS with apt-get", flush=True)
        apt(work, "update", check=False)  # one broken source, or another tool's hook, is no reason to stop
        for package, name in LIBRARIES.items():
            try:
                apt(work, "download", package)
            except Unavailable:
                if package not in OPTIONAL:
                    raise
                continue
            archive = next(work.glob(f"{package}_*.deb"))
            run(["dpkg-deb", "--extract", str(archive), str(work / package)])
            copies = sorted((work / package).rglob(name))
            if not copies:
                raise Unavailable(f"{archive.name} holds no {name}")
            shutil.copyfile(copies[0], folder / name)  # follows the link from the short name to the file
        place(folder)


def place(library: Path) -> None:
    """Put the folder `library` at FOLDER: whole or not at all."""
    beside = FOLDER.with_name(f".{FOLDER.name}.{os.getpid()}")
    shutil.copytree(library, beside)
    shutil.rmtree(FOLDER, ignore_errors=True)
    beside.rename(FOLDER)


def apt(work: Path, *arguments: str, check: bool = True) -> None:
    """apt-get with every file it writes under `work`."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    options = [f"Dir::State::Lists={work}/lists", f"Dir::Cache={work}/cache", "Debug::NoLocking=1"]
    if os.geteuid() == 0:
        options.append("APT::Sandbox::User=root")  # the sandbox's user may not write here
    run(["apt-get", "--quiet=2", *(f"-o{option}" for option in options), *arguments], cwd=work, check=check)


def from_pip() -> None:
    """MKL from its wheel, the larger way."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"mkl has no wheel for {platform.machine()}")
    print("installing the mkl wheel (1.1 GB)", flush=True)
    run([sys.executable, "-m", "pip", "install", "--quiet", "mkl"])


def run(command: Sequence[str], cwd: Path | None = None, check: bool = True) -> None:
    """Run `command` quietly. Raises `Unavailable` with its last words when `check` and it fails."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if check and done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"{' '.join(command[:1])}: {words[-1]}")


if __name__ == "__main__":
    main()
