"""What is said of settings that are not the defaults, and of how two differ, names each with its section."""

from __future__ import annotations

from prefd.daemon.home.changed_settings import describe_differences, list_changed_settings
from prefd.daemon.home.settings import Config

SERVING = Config.model_validate(
    {"worker": {"nice": 5}, "groups": {"night": 1}, "serve": {"models": {"small.v2": "/models/small"}}}
).model_dump()


def test_each_setting_has_its_section_and_what_the_user_names_stands_whole() -> None:
    assert sorted(list_changed_settings(SERVING)) == [
        "groups {'night': 1}",
        "serve.models {'small.v2': '/models/small'}",
        "worker.nice 5",
    ]


def test_differences_are_told_from_before_to_after() -> None:
    assert describe_differences(Config().model_dump(), SERVING) == [
        "groups none → {'night': 1}",
        "serve.models none → {'small.v2': '/models/small'}",
        "worker.nice 0 → 5",
    ]
