"""What a worker is handed is checked on both sides of stdin."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from prefd.daemon.worker_tasks.inputs import DataCheckInput, PreviewInput, RescoreInput, WorkerInput
from support import homes

SPEC = homes.make_spec(after=[1], not_before="2026-01-01T10:00", data={"path": ["/a", {"path": "org/b"}]})


@pytest.mark.parametrize(
    "worker_input",
    [
        PreviewInput(spec=SPEC, named=["row 3", "half of a surrogate pair: \udcff"]),
        DataCheckInput(specs=[SPEC, homes.make_spec(training=None)]),
        RescoreInput(spec=SPEC, sample=2.5, percent=True, commits={"org/b": "c0ffee"}, seconds=1.5),
    ],
    ids=lambda request: type(request).__name__,
)
def test_an_input_is_the_same_behind_json(worker_input: WorkerInput) -> None:
    document = json.loads(json.dumps(worker_input.model_dump(mode="json")))
    assert type(worker_input).model_validate(document) == worker_input


def test_what_no_worker_reads_is_refused() -> None:
    with pytest.raises(ValidationError, match="job_id"):
        RescoreInput.model_validate({"spec": SPEC, "sample": 1, "job_id": 7})
