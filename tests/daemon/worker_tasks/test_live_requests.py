import pytest
from pydantic import ValidationError

from prefd.daemon.worker_tasks.live_requests import (
    Datum,
    FailedResult,
    ForwardBackwardRequest,
    OptimStepRequest,
    OptimStepResult,
    SampleRequest,
    parse_request,
    parse_result,
)


@pytest.mark.parametrize(
    "request_",
    [
        ForwardBackwardRequest(n=1, data=[Datum(tokens=[1, 2], targets=[2, 3], weights=[0.0, 1.0])]),
        OptimStepRequest(n=2),
        SampleRequest(n=3, tokens=[1, 2]),
    ],
)
def test_request_is_read_as_the_kind_that_was_written(request_):
    assert parse_request(request_.model_dump_json()) == request_


def test_unknown_field_of_a_request_is_refused_with_its_name():
    with pytest.raises(ValidationError, match="learning_rat"):
        parse_request('{"kind": "optim_step", "n": 1, "adam_params": {"learning_rat": 1}}')


def test_failed_result_is_read_as_one_whatever_was_asked():
    failed = FailedResult(n=4, category="user", error="no")
    assert parse_result(OptimStepResult, failed.model_dump_json()) == failed
    done = OptimStepResult(n=5, metrics={"optim/step:last": 1.0})
    assert parse_result(OptimStepResult, done.model_dump_json()) == done
