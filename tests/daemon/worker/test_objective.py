"""What a job minimises: one loss or a mixture, from its spec to its metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.objective import Objective
from prefd.plugins.manager import LossParameterError, load_plugins
from support.jobs_on_disk import make_job, run_precompute, run_training
from support.loss_numbers import Numbers


def objective(loss: Any) -> Objective:
    return Objective.from_spec(
        JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "loss": loss}), load_plugins()
    )


def test_one_loss_is_that_loss_with_no_metrics_added() -> None:
    x = Numbers(0).batch()
    out = objective({"name": "ipo", "beta": 0.3})(x)
    alone = load_plugins().losses["ipo"].create({"beta": 0.3})(x)
    assert np.array_equal(np.array(out.losses), np.array(alone.losses))
    assert out.metrics == {}


@pytest.mark.parametrize(
    ("loss", "needs_reference"),
    [
        ({"name": "sigmoid"}, True),
        ({"name": "sft"}, False),
        ([{"name": "sft"}, {"name": "hinge", "weight": 0.1}], True),
        ([{"name": "sft"}, {"name": "cpo"}], False),
    ],
)
def test_a_mixture_needs_a_reference_where_any_part_does(loss: Any, needs_reference: bool) -> None:
    assert objective(loss).needs_reference is needs_reference


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ({"name": "gone"}, JobError, "loss 'gone' is not registered by any plugin"),
        ({"name": "ipo", "bta": 1.0}, LossParameterError, "loss.bta: unknown parameter; did you mean beta?"),
        ([{"name": "sft"}, {"name": "ipo", "beta": 0}], LossParameterError, r"loss\[1\]\.beta: must be above 0"),
    ],
)
def test_what_cannot_be_made_is_named_with_its_place(loss: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        objective(loss)


def test_a_mixture_trains_and_logs_each_part(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(
        home,
        model=str(tiny_model),
        data={"path": str(pairs_file), "validation": 0.25},
        loss=[{"name": "sft", "weight": 0.1}, {"name": "sigmoid"}],
        training={"iters": 4, "batch_size": 2, "learning_rate": 1e-3, "lora": {"rank": 4}},
    )
    run_precompute(job)
    assert run_training(job).ok
    lines = [line for line in job.run.read_metrics() if "loss" in line]
    assert lines[0]["loss/sigmoid"] == pytest.approx(math.log(2), rel=1e-4)
    assert lines[0]["rewards/margins"] == pytest.approx(0, abs=1e-3)  # sigmoid's, not sft's
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss/sigmoid"] + 0.1 * line["loss/sft"], rel=1e-5)
    (evaluation, *_) = [line for line in job.run.read_metrics() if "eval_loss" in line]
    assert {"eval_loss/sft", "eval_loss/sigmoid"} <= evaluation.keys()


def test_a_mixture_without_a_reference_has_none_to_score(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(
        home,
        model=str(tiny_model),
        data={"path": str(pairs_file), "validation": 0.0},
        loss=[{"name": "cpo"}, {"name": "sft"}],
        training={"iters": 1, "batch_size": 2, "lora": {"rank": 4}},
    )
    assert run_training(job).ok
    assert job.cache.references() == []


@pytest.mark.parametrize(
    ("returned", "message"),
    [(None, r"nothing \(is a `return` missing\?\)"), ([1.0], "list"), (np.zeros(2), "ndarray")],
)
def test_a_loss_that_returns_something_else_is_told_what_it_must_return(
    returned: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = load_plugins()
    monkeypatch.setattr(type(plugins.losses["cpo"]), "create", lambda *_: lambda _: returned)
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "loss": {"name": "cpo"}})
    objective = Objective.from_spec(spec, plugins)
    with pytest.raises(
        JobError, match=rf"loss 'cpo' of plugin prefd:losses returned {message}; it must return a LossOutput"
    ):
        objective(None)  # type: ignore[arg-type]  # it is not looked at
