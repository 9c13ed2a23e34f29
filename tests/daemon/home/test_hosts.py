"""The machines that ranks may run on: what config.toml and a hostfile may say of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host, read_hostfile
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError

HOSTS = [
    {"ssh": "mac-1", "ips": ["192.168.1.10"], "rdma": [None, "rdma_en2"]},
    {"ssh": "mac-2", "ips": ["192.168.1.11"], "rdma": []},
]


def load(tmp_path: Path, text: str) -> HandedSettings:
    home = Home(tmp_path)
    home.config.write_text(text)
    return HandedSettings.from_config(Config.load(home), home)


@pytest.mark.parametrize("document", [HOSTS, {"backend": "", "envs": [], "hosts": HOSTS}])
def test_hostfiles_of_mlx_are_read_as_config_toml_is(tmp_path: Path, document: object) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps(document))
    settings = load(tmp_path, '[distributed]\nhostfile = "hosts.json"\n')
    assert [host.ssh for host in settings.list_hosts()] == ["mac-1", "mac-2"]
    lines = [f'{{ssh = "{host["ssh"]}", ips = {json.dumps(host["ips"])}}}' for host in HOSTS]
    settings = load(tmp_path, f"[distributed]\nhosts = [{', '.join(lines)}]\n")
    assert [(host.ssh, host.ips) for host in settings.list_hosts()] == [(host["ssh"], host["ips"]) for host in HOSTS]
    assert HandedSettings.read(Home(tmp_path)) == settings


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('hosts = [{ssh = "-oProxyCommand=x"}]', "a host is a name that ssh knows"),
        ('hosts = [{ssh = "a", ips = ["fe80::1"]}]', "expected an IPv4 address"),
        ('hostfile = "a"\nhosts = [{ssh = "a"}]', "hosts are listed already"),
    ],
)
def test_what_cannot_be_a_host_is_refused_at_its_place(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        load(tmp_path, f"[distributed]\n{lines}\n")
    assert str(tmp_path / "config.toml") in str(refused.value)


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ([["10.0.0.1"], []], r"distributed\.hosts\.1: mac-2 has no ips"),
        ([["127.0.0.1"], ["10.0.0.2"]], r"distributed\.hosts\.0: mac-1 has the address 127\.0\.0\.1"),
    ],
)
def test_machines_that_could_not_reach_each_other_are_refused(addresses: list[list[str]], words: str) -> None:
    hosts = tuple(Host(ssh=f"mac-{index + 1}", ips=ips) for index, ips in enumerate(addresses))
    with pytest.raises(ConfigError, match=words):
        HandedSettings(hosts=hosts).list_hosts()


def test_ranks_of_one_machine_need_no_address() -> None:
    hosts = (Host(ssh="mac-1"), Host(ssh="mac-1"), Host(ssh="localhost"))
    assert HandedSettings(hosts=hosts).list_hosts() == hosts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "cannot be read as JSON"),
        ("{}", "expected a list of objects"),
        ("[1]", "expected a list of objects"),
        ('[{"ips": []}]', "ssh: Field required"),
    ],
)
def test_a_hostfile_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "hosts.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_hostfile(tmp_path / "hosts.json")


def test_folders_are_found_there_by_the_longest_that_they_lie_in() -> None:
    host = Host(ssh="a", folders={"/Users/anna": "/Users/bert", "/Users/anna/models": "/Volumes/models"})
    assert host.find_folder("/Users/anna/models/q/4bit") == "/Volumes/models/q/4bit"
    assert host.find_folder("/Users/anna/adapter") == "/Users/bert/adapter"
    assert host.find_folder("/Users/annabel/adapter") == "/Users/annabel/adapter"
    assert host.find_folder("org/name") == "org/name"
