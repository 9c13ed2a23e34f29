"""The table of metrics: what its rows say, and that they say it alone."""

from __future__ import annotations

from pathlib import Path

import prefd.daemon
from prefd.daemon.commands.metrics import COLUMNS, EVAL_COLUMNS
from prefd.daemon.jobs.comparison import MEASURES
from prefd.daemon.specs.optimizer import WatchedMetric
from prefd.plugins.metrics import LABELS, METRICS, OF_PAIRS, TRAINERS_METRICS


def test_no_loss_may_give_a_metric_by_a_name_of_the_table() -> None:
    assert METRICS.keys() == TRAINERS_METRICS
    assert {name: each.name for name, each in METRICS.items()} == {name: name for name in METRICS}


def test_training_that_learns_moves_these_metrics_that_way() -> None:
    better = {each.name: each.better for each in OF_PAIRS if each.better}
    assert better == {"loss": "lower", "rewards/accuracies": "higher", "rewards/margins": "higher"}
    assert tuple(LABELS.items()) == (
        ("loss", "loss"),
        ("rewards/accuracies", "accuracy"),
        ("rewards/margins", "margin"),
    )


def test_the_better_way_is_the_one_that_selection_takes_without_a_mode() -> None:
    for each in OF_PAIRS:
        if each.better:
            assert WatchedMetric(metric=f"eval_{each.name}").smaller_is_better == (each.better == "lower")


def test_headings_are_two_lines_that_read_as_the_name() -> None:
    for name, heading in COLUMNS.items():
        assert heading.count("\n") == 1
        assert heading.replace("\n", "") in (name, name.replace("_per_second", "/s"))
    assert EVAL_COLUMNS[:3] == ("step", "epoch", "loss")


def test_jobs_are_compared_by_every_metric_of_the_held_out_pairs() -> None:
    assert [each.key for each in MEASURES] == [
        "steps",
        *(f"eval_{each.name}" for each in OF_PAIRS),
        "seconds",
        "peak_memory_gb",
    ]
    assert [each.label for each in MEASURES if each.label] == ["seconds of training", "peak memory, GB"]


def test_no_module_of_the_daemon_repeats_a_row() -> None:
    facts = {each.title for each in METRICS.values() if " " in each.title}
    facts |= {fact for each in METRICS.values() for fact in each.gauge or ()}
    text = {
        path: path.read_text(encoding="utf-8") for root in prefd.daemon.__path__ for path in Path(root).rglob("*.py")
    }
    assert len(text) > 100
    assert {path.name: fact for path, source in text.items() for fact in facts if f'"{fact}"' in source} == {}
