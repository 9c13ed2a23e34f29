import resource

import pytest

from prefd.daemon.machine import open_files

ENDLESS = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "reached"),
    [
        (256, ENDLESS, 8192),
        (256, 4096, 4096),
        (1024, 1_048_576, 8192),
        (65_536, 65_536, 65_536),
        (ENDLESS, ENDLESS, ENDLESS),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, reached: int
) -> None:
    settings = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: settings[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: settings.append(limits))
    open_files.raise_limit()
    assert settings[-1] == (reached, hard)


def test_a_system_that_refuses_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def refuse(kind: int, limits: tuple[int, int]) -> None:
        attempts.append(limits)
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, ENDLESS))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    open_files.raise_limit()
    assert attempts == [(8192, ENDLESS)], "tried once, and given up"
