"""Welcome is the line that a rank on another machine begins with: which one it is, the job's spec, and the plugins' files.

It is read before anything imports MLX, which has to find its cores and threads named. What is on the first rank's machine alone
(data, cache, settings) stays there: nothing is shared but the models' folders.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from pydantic import ValidationError

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host
from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.strict_model import SpecModel
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.count import share_cores
from prefd.daemon.worker.ranks.seats import Seat

LONGEST = 2**26
"""Bytes of the line: plugins are source code."""
CACHE = "XDG_CACHE_HOME"
START_SECONDS = 60
"""The first rank cannot say that it is there while MLX waits for all ranks of a ring."""


class Welcome(SpecModel):
    """Welcome is all that a rank on another machine needs to know before it is told what to do."""

    rank: int
    ranks: int
    numbers: Sequence[int]
    """The ranks of its machine, this one too."""
    silence: float
    """For so many seconds the first rank may say nothing."""
    device: str
    parallel: int = 1
    """How many jobs may share its machine."""
    halvings: int = 0
    """How often the size of batches was halved for want of memory."""
    prevent_sleep: bool = True
    """Whether its machine is kept awake while it runs."""
    spec: Mapping[str, Any] | None = None
    """The job's, with the folders of models as they are there; None where there is no job, and the machine is tried only."""
    plugins: Sequence[Mapping[str, str]] = ()
    """Of each plugin's folder, the files by their names, the plugin's own first."""

    def write(self, stream: IO[bytes]) -> None:
        """Write it as one line. Raises OSError where nobody reads."""
        stream.write(self.model_dump_json().encode() + b"\n")
        stream.flush()

    @classmethod
    def read(cls, stream: IO[bytes]) -> Welcome:
        """Read the line. Raises JobError for another, such as another version of prefd writes."""
        try:
            return cls.model_validate_json(stream.readline(LONGEST))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise JobError(
                f"what the first rank has sent cannot be read ({place}: {fault['msg']}); is prefd of the same version on both machines?"
            ) from None

    def settle(self) -> None:
        """Give this process, which has no thread yet, its cores and settings by its environment."""
        shares = share_cores(self.numbers, self.ranks)
        os.environ.update(shares[self.numbers.index(self.rank)])
        os.environ.update(self._settings.environment())

    def read_spec(self) -> JobSpec:
        """Return the job's spec. Raises JobError where this version cannot read it."""
        try:
            return JobSpec.model_validate(self.spec)
        except ValidationError as error:
            raise JobError(
                f"the job's spec cannot be read: {error}; is prefd of the same version on both machines?"
            ) from None

    @contextmanager
    def unpacked_plugins(self) -> Iterator[None]:
        """Let the settings of this process name the plugins' files, for the time of the block."""
        with TemporaryDirectory(prefix="prefd-rank-") as folder:
            files = []
            for index, sources in enumerate(self.plugins):
                place = Path(folder, str(index))
                place.mkdir()
                for name, text in sources.items():
                    (place / Path(name).name).write_text(text, encoding="utf-8")
                files.append(str(place / Path(next(iter(sources))).name))
            os.environ.update(replace(self._settings, plugins=tuple(files)).environment())
            yield

    @property
    def _settings(self) -> HandedSettings:
        return HandedSettings(device=self.device, parallel=self.parallel)


def welcome_rank(
    seat: Seat, ranks: int, settings: HandedSettings, spec: JobSpec | None = None, halvings: int = 0
) -> Welcome:
    """Write the welcome of a rank on another machine."""
    assert seat.host is not None
    return Welcome(
        rank=seat.rank,
        ranks=ranks,
        numbers=seat.numbers,
        silence=settings.rank_timeout + START_SECONDS,
        device=settings.device,
        parallel=settings.parallel,
        halvings=halvings,
        prevent_sleep=settings.prevent_sleep,
        spec=None if spec is None else translate_folders(spec.model_dump(mode="json", exclude_unset=True), seat.host),
        plugins=[] if spec is None else list_sources(settings),
    )


def translate_folders(spec: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """Return a spec with the models and adapters where `host` has them."""
    blocks = {"": spec, "reference": spec.get("reference") or {}}
    folders = {
        block: {name: host.find_folder(values[name]) for name in ("model", "adapter") if values.get(name) is not None}
        for block, values in blocks.items()
    }
    translated = {**spec, **folders[""]}
    if spec.get("reference"):
        translated["reference"] = {**spec["reference"], **folders["reference"]}
    return translated


def list_sources(settings: HandedSettings) -> list[Mapping[str, str]]:
    """List the files of each plugin that was loaded here, with what it has imported from beside it."""
    sources: list[Mapping[str, str]] = []
    for path in settings.plugin_files:
        if str(path) not in settings.excluded and path.is_file():
            beside = [each for each in _list_imported(path.parent) if each.name != path.name]
            sources.append({each.name: each.read_text(encoding="utf-8") for each in (path, *beside)})
    return sources


def _list_imported(folder: Path) -> Sequence[Path]:
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(Path(each) for each in files if each and Path(each).parent == folder)


def locate_rank_home() -> Home:
    """Return the home of ranks that are not on their job's machine: it remembers the checksums of weights, and holds nothing else."""
    cache = os.environ.get(CACHE) or Path.home() / ".cache"
    return Home(Path(cache) / "prefd-ranks")
