import os
import tomllib
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError


def test_no_file_and_an_empty_file_give_the_defaults(made: Home) -> None:
    assert Config.load(made) == Config()
    made.config.write_text("\n")
    assert Config.load(made).watch.settle_seconds == 0.5


def test_the_template_is_all_comments_and_with_them_off_the_defaults(made: Home) -> None:
    made.config.write_text(Config.template())
    assert Config.load(made) == Config()
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and "`" not in line else line for line in Config.template().split("\n")
    )
    assert Config.model_validate(tomllib.loads(uncommented)) == Config()
    assert "stop_grace_seconds = 60.0" in uncommented


def test_plugin_files_are_relative_to_the_home(made: Home) -> None:
    made.config.write_text('plugins = ["mine.py", "/else/where.py"]\n[watch]\npolling = true\n')
    config = Config.load(made)
    assert config.watch.polling
    assert config.plugin_files(made) == [made.root / "mine.py", Path("/else/where.py")]


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_each_fault_names_the_file_and_the_field(made: Home, text: str, said: str) -> None:
    made.config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.load(made)
    assert str(caught.value) == f"{made.config}: {said}"


def test_a_link_to_settings_that_are_not_there_is_no_file_without_settings(made: Home, tmp_path: Path) -> None:
    made.config.unlink(missing_ok=True)
    made.config.symlink_to(tmp_path / "drive" / "config.toml")
    with pytest.raises(
        ConfigError, match=r"config\.toml is a link to .*drive/config\.toml, which is not there: mount the drive"
    ):
        Config.load(made)


def test_a_file_that_cannot_be_read_is_named(made: Home) -> None:
    made.config.mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml: Is a directory"):
        Config.load(made)


def test_the_names_of_groups_are_composed_as_specs_names_are() -> None:
    assert Config.model_validate({"groups": {"cafe\u0301": 2}}).groups == {"caf\u00e9": 2}


def test_a_pipe_in_place_of_the_file_is_told_and_not_waited_for(made: Home) -> None:
    made.config.unlink(missing_ok=True)
    os.mkfifo(made.config)
    with pytest.raises(ConfigError, match=r"config\.toml: it is a pipe, and no file"):
        Config.load(made)
