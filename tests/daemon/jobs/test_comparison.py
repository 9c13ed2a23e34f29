from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.jobs.comparison import (
    ComparedJob,
    find_best,
    find_differences,
    flatten_settings,
    shorten_values,
    write_notes,
)


def job(
    number: int, state: str = "done", evaluated_at: int | None = 9, settings: Any = None, **numbers: Any
) -> ComparedJob:
    base = {"model": "org/m", "data.path": "/p", "loss.name": "ipo", "training.seed": 0}
    given_numbers = {name.replace("__", "/"): value for name, value in numbers.items()}
    return ComparedJob(
        number, f"j{number}", state, base | (settings or {}), {"steps": 9, **given_numbers}, evaluated_at
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abc"), values))
def test_flat_settings_are_the_leaves_that_are_not_null(nested: dict[str, Any]) -> None:
    flat = flatten_settings(nested)

    def leaves(value: Any) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) else int(value is not None)

    assert len(flat) == leaves(nested)
    for name, value in flat.items():
        node: Any = nested
        for part in name.split("."):
            node = node[part]
        assert node == value


def test_ties_are_all_best_and_equal_values_are_not_marked() -> None:
    three = [job(1, seconds=5.0, eval_loss=1.0), job(2, seconds=3.0, eval_loss=1.0), job(3, seconds=3.0, eval_loss=1.0)]
    assert find_best(three) == {"seconds": [2, 3]}
    assert find_best([job(1, seconds=3.00001), job(2, seconds=3.0), job(3, seconds=4.0)]) == {"seconds": [1, 2]}


def test_less_training_is_not_faster_training() -> None:
    small = job(2, settings={"training.batch_size": 1}, seconds=1.0)
    short = job(3, seconds=1.0, steps=4)
    assert find_best([job(1, seconds=5.0), small]) == find_best([job(1, seconds=5.0), short]) == {}


def test_a_job_that_is_not_done_is_not_the_fastest() -> None:
    assert find_best([job(1, seconds=5.0), job(2, "failed", seconds=0.1), job(3, seconds=6.0)]) == {"seconds": [1]}


@pytest.mark.parametrize(
    "other",
    [{"loss.name": "hinge"}, {"loss.beta": 0.2}, {"reference.model": "org/r"}, {"model": "org/n"}],
    ids=str,
)
def test_losses_are_compared_only_where_loss_parameters_and_reference_are_the_same(other: dict[str, Any]) -> None:
    numbers = {"eval_loss": 1.0, "eval_rewards__margins": 1.0, "eval_rewards__accuracies": 0.5}
    two = [job(1, **numbers), job(2, settings=other, **{name: 2 * value for name, value in numbers.items()})]
    assert find_best(two) == {"eval_rewards/accuracies": [2]}
    assert "not marked" in "".join(write_notes(two))
    assert len(find_best([two[0], job(3, **{name: 2 * value for name, value in numbers.items()})])) == 3


def test_a_spec_that_cannot_be_read_hides_nothing_else() -> None:
    unknown = ComparedJob(2, "old", "done", None, {"steps": 4, "peak_memory_gb": 1.0, "eval_loss": 0.1}, 4)
    two = [job(1, peak_memory_gb=2.0, eval_loss=0.2), unknown]
    assert unknown.loss == "-"
    assert find_differences(two) == []
    assert find_best(two) == {"peak_memory_gb": [2]}
    assert "job 2 (old)" in write_notes(two)[0]


def test_paths_are_told_apart_by_their_ends() -> None:
    assert shorten_values(["/data/a/x.jsonl", "/data/b/x.jsonl", None]) == ["a/x.jsonl", "b/x.jsonl", "-"]
    assert shorten_values(["/data/a", "/data/a"]) == ["/data/a", "/data/a"]
    assert shorten_values([True, 1e-5, ["q_proj"]]) == ["true", "1e-05", '["q_proj"]']


def test_a_mixture_is_told_by_the_names_of_its_losses() -> None:
    mixed = ComparedJob(1, "m", "done", {"loss": [{"name": "sigmoid"}, {"name": "sft", "weight": 0.1}]}, {}, None)
    assert mixed.loss == "sigmoid + sft"
    assert job(2).loss == "ipo"
