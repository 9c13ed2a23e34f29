"""A spec that names a reporter which is not there, or whose library is not, is refused with what to do."""

from __future__ import annotations

import json

import pytest

from prefd.daemon.specs.reading import read_spec
from prefd.daemon.specs.spec_error import SpecError
from support import fake_worker

SPEC = {"model": "m", "data": {"path": "p"}, "training": {"iters": 1}}


def read(**more: object) -> list[str] | None:
    return read_spec(json.dumps(SPEC | more).encode(), "job.json", fake_worker.catalog()).report_to


def test_reporters_that_are_there_are_taken() -> None:
    assert read(report_to=["trackio", "tensorboard"]) == ["trackio", "tensorboard"]
    assert read() is None


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (
            {"report_to": ["trakio"]},
            "report_to[0]: no reporter is called 'trakio'; did you mean trackio? known: absent, ",
        ),
        ({"report_to": ["trackio", "absent"]}, f"report_to[1]: absent: {fake_worker.MISSING}"),
        ({"report_to": "trackio"}, "report_to: expected a list"),
        (
            {"report_to": ["trackio"], "training": None},
            "report_to: there is no training, so there is nothing to report",
        ),
    ],
)
def test_what_cannot_be_reported_to_is_refused_at_its_place(spec: dict[str, object], fault: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(**spec)
    assert fault in str(refused.value)
