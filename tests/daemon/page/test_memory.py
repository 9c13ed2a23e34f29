"""What the page's process takes of memory with a long run open, and what it leaves to others to import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from support import homes
from support.cache_entries import FINGERPRINT
from support.page import write_static
from support.paths import ROOT

STEPS = 100_000
MOST_BYTES = 100_000_000
ASKED = [
    "/",
    "/v1/jobs?with=summary",
    "/v1/jobs/1/series",
    "/v1/cache",
    "/v1/config",
    "/v1/compare?ids=1,2",
    "/v1/openapi.json",
]
PROGRAM = """
import json, sys
from pathlib import Path
import psutil
import prefd.daemon.page.server
loaded = [name for name in ("numpy", "zarr", "mlx", "datasets") if name in sys.modules]
from prefd.daemon.home.layout import Home
from support.page import OPEN, browse
page = browse(Home(Path(sys.argv[1])), Path(sys.argv[2]))
statuses = [page.get(path, headers=OPEN).status_code for path in sys.argv[3:]]
loaded += [name for name in ("numpy", "zarr", "mlx", "datasets") if name in sys.modules]
print(json.dumps([psutil.Process().memory_info().rss, statuses, loaded]))
"""


def write_long_run(path: Path) -> None:
    """100,000 steps of twelve metrics."""
    metrics = ", ".join(f'"metric_{number}": 0.{number}25' for number in range(1, 12))
    with path.open("w", encoding="utf-8") as file:
        for step in range(1, STEPS + 1):
            file.write(f'{{"step": {step}, "epoch": 0.5, "time": 1763795000.25, "loss": 0.5, {metrics}}}\n')


@pytest.mark.slow
@pytest.mark.thorough
def test_a_long_run_and_the_cache_leave_the_process_below_100_mb(ready_home: Home, tmp_path: Path) -> None:
    write_long_run(homes.run_folder(ready_home, homes.add_done(ready_home)).metrics)
    homes.add_done(ready_home, name="other")
    ReferenceCache.open(ready_home.cache).reference(FINGERPRINT).put({b"k" * 32: np.full(3, -0.5, dtype=np.float32)})
    program = [sys.executable, "-c", PROGRAM, str(ready_home.root), str(write_static(tmp_path / "static")), *ASKED]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=ROOT / "tests")
    resident, statuses, loaded = json.loads(done.stdout)
    assert statuses == [200] * len(ASKED)
    assert loaded == []
    assert resident < MOST_BYTES
