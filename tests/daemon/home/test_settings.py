import os
import tomllib
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError


def test_no_file_and_an_empty_file_give_the_defaults(ready_home: Home) -> None:
    assert Config.load(ready_home) == Config()
    ready_home.config.write_text("\n")
    assert Config.load(ready_home).watch.settle_seconds == 0.5


def test_the_template_is_all_comments_and_with_them_off_the_defaults(ready_home: Home) -> None:
    ready_home.config.write_text(Config.template())
    assert Config.load(ready_home) == Config()
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and "`" not in line else line for line in Config.template().split("\n")
    )
    assert Config.model_validate(tomllib.loads(uncommented)) == Config()
    assert "stop_grace_seconds = 60.0" in uncommented


def test_plugin_files_are_relative_to_the_home(ready_home: Home) -> None:
    ready_home.config.write_text('plugins = ["mine.py", "/else/where.py"]\n[watch]\npolling = true\n')
    config = Config.load(ready_home)
    assert config.watch.polling
    assert config.plugin_files(ready_home) == [ready_home.root / "mine.py", Path("/else/where.py")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stop_grace = 3", "line 1: stop_grace: unknown key; did you mean stop_grace_seconds?"),
        ("settle_seconds = 3", "line 1: settle_seconds: unknown key; did you mean watch.settle_seconds?"),
        ("[watch]\nsettle_seconds = -1", "line 2: watch.settle_seconds: must be greater than 0, got -1"),
        ('plugins = "mine.py"', 'line 1: plugins: expected a list, got "mine.py"'),
        ("parallel = 0", "line 1: parallel: must be greater than or equal to 1, got 0"),
        ("groups = {a = 0}", "line 1: groups.a: must be greater than or equal to 1, got 0"),
        ("plugins = [", "line 1, column 12: Invalid value; is the file cut short?"),
    ],
)
def test_each_fault_names_the_file_and_the_field(ready_home: Home, text: str, message: str) -> None:
    ready_home.config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.load(ready_home)
    assert str(caught.value) == f"{ready_home.config}: {message}"


def test_a_link_to_settings_that_are_not_there_is_no_file_without_settings(ready_home: Home, tmp_path: Path) -> None:
    ready_home.config.unlink(missing_ok=True)
    ready_home.config.symlink_to(tmp_path / "drive" / "config.toml")
    with pytest.raises(
        ConfigError, match=r"config\.toml is a link to .*drive/config\.toml, which is not there: mount the drive"
    ):
        Config.load(ready_home)


def test_a_file_that_cannot_be_read_is_named(ready_home: Home) -> None:
    ready_home.config.mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml: Is a directory"):
        Config.load(ready_home)


def test_the_names_of_groups_are_composed_as_specs_names_are() -> None:
    assert Config.model_validate({"groups": {"cafe\u0301": 2}}).groups == {"caf\u00e9": 2}


def test_a_pipe_in_place_of_the_file_is_told_and_not_waited_for(ready_home: Home) -> None:
    ready_home.config.unlink(missing_ok=True)
    os.mkfifo(ready_home.config)
    with pytest.raises(ConfigError, match=r"config\.toml: it is a pipe, and no file"):
        Config.load(ready_home)
