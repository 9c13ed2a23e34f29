"""`prefd push` uploads what was asked for, and nothing else: to a stand-in of the hub, over the hub's own HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support import homes
from support.fake_hub import FakeHub, run_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with run_hub() as running:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        log_in(running, monkeypatch, running.token)
        yield running


def log_in(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=hub.url, token=token))


@pytest.fixture
def done(ready_home: Home, tmp_path: Path) -> Home:
    homes.add_done(ready_home)
    adapter = ready_home.job(1) / "adapter"
    config = {"model": str(tmp_path / "secret" / "base"), "fine_tune_type": "lora"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapters.safetensors").write_bytes(b"weights")
    (adapter / ".DS_Store").write_bytes(b"no one's")
    return ready_home


def test_an_adapter_goes_to_a_private_repository_with_its_card(done: Home, hub: FakeHub) -> None:
    pushed = homes.invoke(done, "push", 1, "--repo", "me/tuned", "--yes")
    assert pushed.exit_code == 0, pushed.output
    assert pushed.stdout.splitlines()[-1] == f"{hub.url}/me/tuned/commit/abc"
    assert hub.private == {"me/tuned": True}
    files = hub.files["me/tuned"]
    assert sorted(files) == ["README.md", "adapter_config.json", "adapters.safetensors"]
    assert json.loads(files["adapter_config.json"]) == {"model": "base", "fine_tune_type": "lora"}
    assert files["adapters.safetensors"] == b"weights"
    card = files["README.md"].decode()
    for words in (
        'base_model: "org/small-model"',
        "| loss | ipo (beta 0.1) |",
        "| data | pairs.jsonl |",
        "| accuracy |",
    ):
        assert words in card, card
    assert "/data/" not in card


def test_several_parts_get_a_folder_each_and_public_is_said(done: Home, hub: FakeHub) -> None:
    (done.job(1) / "gguf").mkdir()
    (done.job(1) / "gguf" / "it.gguf").write_bytes(b"GGUF")
    command = ("push", 1, "--repo", "me/both", "--part", "adapter", "--part", "gguf", "--public", "--yes", "--json")
    answer = json.loads(homes.invoke(done, *command).stdout)
    assert (answer["private"], answer["url"]) == (False, f"{hub.url}/me/both/commit/abc")
    assert hub.private == {"me/both": False}
    assert {"README.md", "adapter/adapters.safetensors", "gguf/it.gguf"} <= set(hub.files["me/both"])


def test_nothing_is_sent_without_being_asked(done: Home, hub: FakeHub) -> None:
    refused = homes.invoke(done, "push", 1, "--repo", "me/tuned")
    assert (refused.exit_code, "nothing is sent without being asked for" in refused.stderr) == (Exit.USAGE, True)
    tried = homes.invoke(done, "push", 1, "--repo", "me/tuned", "--dry-run")
    assert tried.exit_code == 0
    assert "adapters.safetensors" in tried.stdout
    assert "# smol-ipo" in tried.stdout
    assert (hub.private, hub.files) == ({}, {})


def test_what_is_in_the_way_is_told(
    done: Home, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    hub.private["me/open"] = False
    queued = homes.add_queued(done, name="waits")
    cases = [
        ((1, "--repo", "me/open"), "me/open is there already and is public: --public says that this is meant"),
        ((1, "--repo", "a b/c d"), "is no name of a repository; write it as user/name"),
        ((1, "--repo", "me/x", "--part", "fused"), "has no fused/; add output: {fuse: true} to its spec"),
        ((1, "--repo", "me/x", "--part", "gguf"), "has no gguf/; `prefd gguf 1` writes it"),
        ((queued.id, "--repo", "me/x"), "is queued: what it leaves is uploaded when it is done"),
    ]
    for arguments, message in cases:
        with subtests.test(message=message):
            refused = homes.invoke(done, "push", *arguments, "--yes")
            assert (refused.exit_code, message in refused.stderr) == (1, True), refused.stderr
    with subtests.test("another token"):
        log_in(hub, monkeypatch, "hf_bad")
        refused = homes.invoke(done, "push", 1, "--repo", "me/x", "--yes")
        assert "the hub does not let you write to me/x" in refused.stderr, refused.stderr
    with subtests.test("no network"):
        hub.url = "http://127.0.0.1:9"
        log_in(hub, monkeypatch, "hf_good")
        refused = homes.invoke(done, "push", 1, "--repo", "me/x", "--yes")
        assert "the hub cannot be reached" in refused.stderr, refused.output
    with subtests.test("files that were removed"):
        for path in (done.job(1) / "adapter").iterdir():
            path.unlink()
        refused = homes.invoke(done, "push", 1, "--repo", "me/x", "--yes")
        assert "has no adapter/; its files were removed, so train it again" in refused.stderr, refused.stderr
    assert hub.files == {}
