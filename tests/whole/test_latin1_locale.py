"""A daemon that is started in a Latin-1 locale reads names, writes its log and runs its workers in UTF-8."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from support import fake_worker


@pytest.mark.slow
def test_a_daemon_in_a_latin1_locale_names_files_as_they_are(tmp_path: Path) -> None:
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef here")
    (tmp_path / "locale").mkdir()
    making = ["localedef", "--no-archive", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / "locale" / "en_US")]
    subprocess.run(making, capture_output=True, check=False)  # it warns of what is missing
    environment = os.environ | {"LOCPATH": str(tmp_path / "locale"), "LC_ALL": "en_US", "PYTHONIOENCODING": ""}
    environment.pop("PYTHONUTF8", None)
    encoding = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    if subprocess.run(encoding, env=environment, capture_output=True, text=True, check=True).stdout != "iso8859-1\n":
        pytest.skip("no Latin-1 locale could be made here")
    home = Home(tmp_path / "home")
    home.create()
    (home.jobs / "Größe ☕.yaml").write_text("nonsense: true\n")
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(home.root), "start"]
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        fake_worker.wait_for(lambda: (home.rejected / "Größe ☕.yaml.error.txt").exists())
        fake_worker.wait_for(lambda: "rejected Größe ☕.yaml: " in (tmp_path / "log").read_text(encoding="utf-8"))
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
