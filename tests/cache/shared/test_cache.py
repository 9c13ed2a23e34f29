"""A cache shared through an S3 API server on loopback: two machines, one store, nothing believed unchecked."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.shared.bucket import Bucket, CannotShare
from prefd.cache.shared.cache import SharedCache
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.stored_reference import whole_references
from support.cache_entries import entries
from support.faulty_object_store import environment, flip_object, moto, new_prefix
from support.jobs_on_disk import make_job, run_precompute
from support.programs import program_environment
from support.sample_pairs import PAIRS

FINGERPRINT = ReferenceFingerprint({"weights": "w"}, {"model": "m"})
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto() as address:
        yield address


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own in a bucket, and the environment that reaches it."""
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    return new_prefix(server)


def test_what_one_machine_put_another_gets(url: str, tmp_path: Path) -> None:
    values = entries()
    SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT).put(values)
    there = SharedCache.connect(url, tmp_path / "b").reference(FINGERPRINT)
    assert there.missing(list(values)) == []
    for actual, value in zip(there.get(list(values)), values.values()):
        np.testing.assert_array_equal(actual, value)


def test_a_running_reader_sees_what_is_committed_later(url: str, tmp_path: Path) -> None:
    reader = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT)
    values = entries()
    assert len(reader.missing(list(values))) == len(values)
    SharedCache.connect(url, tmp_path / "b").reference(FINGERPRINT).put(values)
    assert reader.missing(list(values)) == []


def test_a_segment_without_its_commit_is_not_there(url: str, tmp_path: Path) -> None:
    values = entries()
    name = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT).put(values)
    bucket = Bucket(url)
    bucket._obstore.delete(bucket._store, f"refs/{FINGERPRINT.name}/segments/{name}/zarr.json")
    there = SharedCache.connect(url, tmp_path / "b").reference(FINGERPRINT)
    assert len(there.missing(list(values))) == len(values)
    again = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT)  # its writer commits it after all
    assert again.missing(list(values)) == []
    assert there.missing(list(values)) == []


def test_a_damaged_object_is_refused_and_reported(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = entries()
    name = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT).put(values)
    chunk = f"refs/{FINGERPRINT.name}/segments/{name}/logprob/c/0"
    flip_object(url, chunk)
    with caplog.at_level(logging.WARNING):
        there = SharedCache.connect(url, tmp_path / "b").reference(FINGERPRINT)
    assert "does not match its checksum" in caplog.text
    assert len(there.missing(list(values))) == len(values)


def test_two_writers_at_once_both_end_with_everything(url: str, tmp_path: Path) -> None:
    mine, theirs = entries(seed=1), entries(seed=2)
    both = entries(5, seed=3)

    def write(folder: str, values: Any) -> None:
        reference = SharedCache.connect(url, tmp_path / folder).reference(FINGERPRINT)
        for begin in range(0, len(values), 5):
            reference.put(dict(list(values.items())[begin : begin + 5]))

    threads = [
        threading.Thread(target=write, args=(folder, values | both)) for folder, values in (("a", mine), ("b", theirs))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = mine | theirs | both
    for folder in ("a", "b", "c"):
        reference = SharedCache.connect(url, tmp_path / folder).reference(FINGERPRINT)
        assert reference.missing(list(everything)) == []
        for key, value in zip(everything, reference.get(list(everything))):
            np.testing.assert_array_equal(value, everything[key])
        assert {row.tobytes() for segment in reference.segments for row in segment.keys} == everything.keys()


def test_a_store_that_cannot_be_reached_stops_nobody(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = entries()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        options = {"retry_config": {"max_retries": 0}}
        away = SharedCache.connect(url, tmp_path / "a", options).reference(FINGERPRINT)
        away.put(values)
        assert away.missing(list(values)) == []
        assert "going on with what is here" in caplog.text
    back = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT)
    assert back.missing(list(values)) == []
    assert SharedCache.connect(url, tmp_path / "b").reference(FINGERPRINT).missing(list(values)) == []


@pytest.mark.parametrize("wrong", ["nonsense", "gopher://host/x"])
def test_a_url_that_is_no_store_is_told(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(CannotShare, match="expected something like s3://bucket/prefix"):
        SharedCache.connect(wrong, tmp_path / "a")


def test_a_job_on_another_machine_scores_nothing(url: str, home: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    scored = []
    for machine in ("big", "laptop"):
        root = home.with_name(machine)
        root.mkdir()
        (root / "config.toml").write_text(f"cache_url = {json.dumps(url)}\n")
        scored.append(run_precompute(make_job(root, **spec)).summary.scored)
    assert scored == [2 * len(PAIRS), 0]


def test_zarr_reads_the_object_store_in_place(url: str, server: str, tmp_path: Path) -> None:
    values = entries()
    name = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT).put(values)
    # It leaves without the interpreter's own end: obstore's threads may let go of an answer then, and Python aborts for it.
    program = f"""
import os, sys, zarr
from obstore.store import from_url
from zarr.storage import ObjectStore
assert not any(module.startswith("prefd") for module in sys.modules)
group = zarr.open_group(ObjectStore(from_url({url!r}), read_only=True), mode="r", path="refs/{FINGERPRINT.name}/segments/{name}")
print(float(group["logprob"][:].sum()), flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(sum(float(value.sum()) for value in values.values()), rel=1e-5)


@pytest.mark.thorough  # two writers in threads of one process: test_two_writers_at_once_both_end_with_everything
def test_two_processes_write_at_once(url: str, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from prefd.cache.upkeep.compact import compact
from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.shared.cache import SharedCache
from support.cache_entries import entries
cache = SharedCache.connect({url!r}, Path({str(tmp_path)!r}) / sys.argv[1])
reference = cache.reference(ReferenceFingerprint({{"weights": "w"}}))
for key, value in entries(8, seed=int(sys.argv[1])).items():
    reference.put({{key: value}})
"""
    writers = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, str(seed)], env=program_environment())
        for seed in (1, 2)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    everything = entries(8, seed=1) | entries(8, seed=2)
    reference = SharedCache.connect(url, tmp_path / "reader").reference(FINGERPRINT)
    assert reference.missing(list(everything)) == []
    assert len(reference.segments) == len(everything)


def test_a_mirror_may_be_compacted_and_everyone_keeps_the_values(url: str, tmp_path: Path) -> None:
    values = entries(5)
    here = SharedCache.connect(url, tmp_path / "a")
    for key, value in values.items():
        here.reference(FINGERPRINT).put({key: value})
    there = SharedCache.connect(url, tmp_path / "b").reference(FINGERPRINT)
    for stored in whole_references(here):
        compact(stored, grace_s=0.0)
        compact(stored, grace_s=0.0)  # deletes what the first replaced
    again = SharedCache.connect(url, tmp_path / "a").reference(FINGERPRINT)
    late = SharedCache.connect(url, tmp_path / "c").reference(FINGERPRINT)
    for reader in (again, there, late):
        assert reader.missing(list(values)) == []
        for actual, value in zip(reader.get(list(values)), values.values()):
            np.testing.assert_array_equal(actual, value)
        assert len(reader.segments) == 1
    assert len(list(again.folder.iterdir())) == 1  # what was replaced is not fetched back
