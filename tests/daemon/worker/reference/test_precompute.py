"""The reference pass: what is scored, what is not scored again, and what a stopped pass keeps."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlx import nn

from prefd.daemon.text.sizes import format_size
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.reference import scoring_pass, window_choice
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.scoring.choose import NoWindows, fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.windows import WindowedScorer
from support import tiny_model as tiny
from support.jobs_on_disk import make_job, run_precompute, run_training
from support.sample_pairs import PAIRS
from support.thinned import thin

Rows = list[dict[str, Any]]


def scored(job: RunningJob) -> int:
    """How many completions went through the reference's forward pass, counted there and as the report says."""
    sides_by_key = {
        one.ids.tobytes() for one in Needs.collect(job).completions.values()
    }  # a scorer tries itself on others first
    with pytest.MonkeyPatch.context() as patch:
        forwards: list[int] = []

        def counted(self: Scorer, batch: Any, logprobs: Any = Scorer.logprobs) -> Any:
            forwards.append(sum(one.ids.tobytes() in sides_by_key for one in batch))
            return logprobs(self, batch)

        patch.setattr(Scorer, "logprobs", counted)
        outcome = run_precompute(job)
    assert sum(forwards) == outcome.summary.scored
    return sum(forwards)


@pytest.fixture
def no_model_loads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def load(*_: object) -> None:
            raise AssertionError("a model was loaded")

        monkeypatch.setattr(loading, "load_lazily", load)

    return forbid


def test_every_completion_is_scored_once_and_then_never(
    home: Path, tiny_model: Path, pairs_file: Path, no_model_loads: Callable[[], None]
) -> None:
    spec = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    first = run_precompute(make_job(home, 1, **spec))
    assert first.reason == f"reference: {2 * len(PAIRS)} of {2 * len(PAIRS)} completions scored"
    no_model_loads()
    second = run_precompute(make_job(home, 2, **spec))
    assert second.reason == f"reference: 0 of {2 * len(PAIRS)} completions scored"
    assert second.summary.cached == 2 * len(PAIRS)


def test_values_are_the_models_own(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    run_precompute(job)
    model = mlx_lm.load(str(tiny_model))[0]
    for example in job.examples:
        for side in (example.chosen, example.rejected):
            (cached,) = job.store.get([job.key(side)])
            (live,) = np.array(fastest_scorer(model).logprobs([side]).tokens)
            np.testing.assert_allclose(cached, live, atol=2e-6)


def test_an_answer_shared_by_pairs_is_scored_once(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "chosen": "Because.", "rejected": f"No idea {n}."} for n in range(3)]
    outcome = run_precompute(make_job(home, model=str(tiny_model), data={"path": write_jsonl(tmp_path, rows)}))
    assert (outcome.summary.completions, outcome.summary.duplicates) == (4, 2)


def test_only_what_is_new_is_scored(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    def job(rows: Rows, **more: Any) -> RunningJob:
        return make_job(home, model=str(tiny_model), data={"path": write_jsonl(tmp_path, rows)}, **more)

    new = {"prompt": "What is new?", "chosen": "This row.", "rejected": "Nothing."}
    assert scored(job(PAIRS[:-1])) == 2 * len(PAIRS) - 2
    assert scored(job(PAIRS)) == 2
    assert scored(job(PAIRS[::-1])) == 0
    assert scored(job(PAIRS[2:5])) == 0
    assert scored(job([*PAIRS, new])) == 2
    other = {"loss": {"name": "ipo", "beta": 0.3}, "training": {"learning_rate": 1e-3, "seed": 7, "lora": {"rank": 2}}}
    assert scored(job(PAIRS, **other)) == 0


def test_another_reference_shares_nothing(home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path) -> None:
    data = {"path": str(pairs_file)}
    total = scored(make_job(home, model=str(tiny_model), data=data))
    other = tiny.build_llama(tmp_path / "other", seed=1)
    assert scored(make_job(home, model=str(tiny_model), reference={"model": str(other)}, data=data)) == total
    copied = tiny.build_llama(tmp_path / "copy")  # the same bytes elsewhere
    assert scored(make_job(home, model=str(copied), data=data)) == 0
    tiny.build_tokenizer(copied, tiny.CHATML.replace("assistant", "helper"))
    assert scored(make_job(home, model=str(copied), data=data)) == total
    tiny.build_tokenizer(copied, vocab_size=280)
    assert scored(make_job(home, model=str(copied), data=data)) == total


def test_a_changed_max_length_scores_only_the_rows_it_changes(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    def job(max_length: int) -> RunningJob:
        return make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": max_length})

    assert scored(job(1024)) == 2 * len(PAIRS)
    longest = max(len(side.ids) for each in job(1024).examples for side in (each.chosen, each.rejected))
    cut = [side for each in job(1024).examples for side in (each.chosen, each.rejected) if len(side.ids) == longest]
    assert scored(job(longest)) == 0
    assert scored(job(longest - 1)) == len(cut)


def test_an_adapter_makes_another_reference(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    data = {"path": str(pairs_file)}
    trained = make_job(home, 1, model=str(tiny_model), data=data, training={"iters": 1, "batch_size": 2})
    total = scored(trained)
    run_training(trained)
    adapted = {"model": str(tiny_model), "adapter": str(trained.run.adapter), "data": data}
    assert scored(make_job(home, 2, **adapted)) == total
    assert scored(make_job(home, 3, **adapted)) == 0


def test_the_report_audits_what_the_cache_was_needed_for(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "chosen": "Because.", "rejected": f"No idea {n}."} for n in range(3)]
    spec = {"model": str(tiny_model), "data": {"path": write_jsonl(tmp_path, rows), "validation": 0.0}}
    first, second = (run_precompute(make_job(home, n, **spec)).summary for n in (1, 2))
    lengths = [len(side.ids) - side.start for side in Needs.collect(make_job(home, 3, **spec)).completions.values()]
    assert (first.completions, first.duplicates, first.cached, first.scored) == (4, 2, 0, 4)
    assert first.tokens_scored == sum(lengths) < first.tokens_run
    assert first.bytes == second.bytes == 4 * sum(lengths) + 52 * 4
    assert (second.cached, second.scored, second.tokens_scored) == (4, 0, 0)


def write_jsonl(folder: Path, rows: Rows, name: str = "rows.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def write_json(folder: Path, rows: Rows) -> str:
    (folder / "rows.json").write_text(json.dumps(rows))
    return str(folder / "rows.json")


def write_csv(folder: Path, rows: Rows) -> str:
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / "rows.csv")


def write_parquet(folder: Path, rows: Rows) -> str:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return str(folder / "rows.parquet")


def write_folder(folder: Path, rows: Rows) -> str:
    (folder / "rows").mkdir()
    write_jsonl(folder / "rows", rows[:3], "a.jsonl")
    write_jsonl(folder / "rows", rows[3:], "b.jsonl")
    return str(folder / "rows")


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


SHAPES: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    "explicit strings": dict,
    "explicit messages": lambda p: {
        "prompt": user(p["prompt"]),
        "chosen": assistant(p["chosen"]),
        "rejected": assistant(p["rejected"]),
    },
    "implicit messages": lambda p: {side: user(p["prompt"]) + assistant(p[side]) for side in ("chosen", "rejected")},
    "hh": lambda p: {side: f"\n\nHuman: {p['prompt']}\n\nAssistant: {p[side]}" for side in ("chosen", "rejected")},
    "implicit strings": lambda p: {side: f"{p['prompt']}\n{p[side]}" for side in ("chosen", "rejected")},
}


WRITERS = [write_jsonl, write_json, write_csv, write_parquet, write_folder]


@pytest.mark.parametrize(
    ("write", "shape"),
    thin(product(WRITERS, SHAPES), lambda case: list(SHAPES).index(case[1]) in (0, WRITERS.index(case[0]))),
)  # data/test_prepare.py has the tokens of every shape in every file
def test_the_same_pairs_in_any_shape_and_file_are_the_same_entries(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, shape: str, write: Callable[[Path, Rows], str]
) -> None:
    if write is write_csv and "messages" in shape:
        pytest.skip("a csv cell holds a string")
    total = scored(make_job(home, 1, model=str(tiny_model), data={"path": str(pairs_file)}))
    path = write(tmp_path, [SHAPES[shape](pair) for pair in PAIRS])
    outcome = run_precompute(make_job(home, 2, model=str(tiny_model), data={"path": path}))
    assert (outcome.summary.scored, outcome.summary.completions) == (0, total)


def test_other_column_names_are_given_in_the_spec(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    scored(make_job(home, 1, model=str(tiny_model), data={"path": str(pairs_file)}))
    renamed = [{"q": pair["prompt"], "good": pair["chosen"], "bad": pair["rejected"]} for pair in PAIRS]
    columns = {"prompt_feature": "q", "chosen_feature": "good", "rejected_feature": "bad"}
    data = {"path": write_jsonl(tmp_path, renamed)} | columns
    assert scored(make_job(home, 2, model=str(tiny_model), data=data)) == 0


def test_a_stopped_pass_keeps_what_it_committed(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_pass, "BATCH_TOKENS", {loading.device(): 64})
    unbroken = make_job(home.with_name("unbroken"), model=str(tiny_model), data={"path": str(pairs_file)})
    run_precompute(unbroken)
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="of 16 completions; they are kept"):
        run_precompute(job, stop)
    rest = run_precompute(make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}))
    assert 0 < rest.summary.scored < 16
    keys = [job.key(side) for each in job.examples for side in (each.chosen, each.rejected)]
    for mine, theirs in zip(job.store.get(keys), unbroken.store.get(keys)):
        np.testing.assert_array_equal(mine, theirs)


def test_unusable_numbers_are_refused_with_the_row(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: Any, load: Callable[[Any], nn.Module] = loading.load_lazily) -> nn.Module:
        model = load(source)
        model.model.norm.weight = mx.full(model.model.norm.weight.shape, mx.nan)
        return model

    monkeypatch.setattr(loading, "load_lazily", broken)
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    with pytest.raises(JobError, match=r"no usable log-probabilities for pairs\.jsonl:\d: .*is not finite"):
        run_precompute(job)
    assert len(job.store.missing([job.key(each.chosen) for each in job.examples])) == len(PAIRS)


def test_a_reference_with_another_tokenizer_is_refused(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    other = tiny.build_llama(tmp_path / "other")
    tiny.build_tokenizer(other, vocab_size=280)
    job = make_job(home, model=str(tiny_model), reference={"model": str(other)}, data={"path": str(pairs_file)})
    with pytest.raises(JobError, match=r"has another tokenizer than .*; use a reference of the same family"):
        run_precompute(job)


def test_a_window_of_layers_gives_the_same_entries_and_says_what_it_cost(
    home: Path, tiny_model: Path, pairs_file: Path, known_bits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_pass, "BATCH_TOKENS", {loading.device(): 64})
    monkeypatch.setattr(window_choice, "CHUNK_TOKENS", {loading.device(): 256})
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    whole = make_job(home.with_name("whole"), **spec)
    assert run_precompute(whole).summary.windows is None
    job = make_job(home, **spec, reference={"window": 1})
    outcome = run_precompute(job)
    assert job.fingerprint.sha256 == whole.fingerprint.sha256
    keys = [job.key(side) for each in job.examples for side in (each.chosen, each.rejected)]
    for mine, theirs in zip(job.store.get(keys), whole.store.get(keys)):
        np.testing.assert_array_equal(mine, theirs)
    windows = outcome.summary.windows
    assert windows is not None
    assert (windows.size, windows.layers, outcome.summary.scored) == (1, 2, 16)
    assert windows.readings == len(job.store.segments) > 1
    assert f"1 of 2 layers in memory at a time, {format_size(windows.weights_bytes)} of weights read" in outcome.reason
    again = run_precompute(make_job(home, 2, **spec))
    assert again.summary.scored == 0


def test_a_kill_between_chunks_loses_one_at_most(
    home: Path, tiny_model: Path, pairs_file: Path, known_bits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_pass, "BATCH_TOKENS", {loading.device(): 64})
    monkeypatch.setattr(window_choice, "CHUNK_TOKENS", {loading.device(): 256})
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}, "reference": {"window": 1}}
    calls: list[int] = []

    def killed(self: WindowedScorer, batches: Any, on_run: Any = None, logprobs: Any = WindowedScorer.logprobs) -> Any:
        if on_run is None:  # the scorer tries itself first
            yield from logprobs(self, batches)
            return
        calls.append(sum(map(len, batches)))
        for index, scores in enumerate(logprobs(self, batches, on_run)):
            if len(calls) == 3 and index:
                raise SystemExit
            yield scores

    monkeypatch.setattr(WindowedScorer, "logprobs", killed)
    with pytest.raises(SystemExit):
        run_precompute(make_job(home, **spec))
    rest = run_precompute(make_job(home, 2, **spec)).summary
    assert (rest.cached, rest.scored) == (sum(calls[:2]), 16 - sum(calls[:2]))


def test_a_model_that_cannot_be_run_in_windows_is_run_whole_and_the_report_says_why(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NoWindows("its layers cannot be run apart")

    monkeypatch.setattr(scoring_pass, "windowed_scorer", refuse)
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}, "reference": {"window": 1}}
    outcome = run_precompute(make_job(home, **spec))
    assert outcome.summary.windows is None
    assert outcome.summary.warnings == [
        f"{tiny_model} is not scored in windows, but whole: its layers cannot be run apart"
    ]
    monkeypatch.setattr(memory, "machine", lambda: (300_000, 300_000))
    with pytest.raises(
        JobError, match=r"has 0\.0 GiB in all, and it cannot be scored in windows of its layers: its layers"
    ):
        run_precompute(make_job(home.with_name("small"), **spec))
