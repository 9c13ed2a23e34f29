"""The cache from Python: references by name, log-probabilities by text and by token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from prefd.cache.reference import MissingEntry
from prefd.cache.store import ReferenceCache
from prefd.daemon.notebook import PolicyLogprobs, ReferenceLogprobs, UnknownReference, load_tokenizer
from prefd.daemon.worker.job import RunningJob
from support import tiny_model as tiny
from support.jobs_on_disk import make_job, run_precompute
from support.sample_pairs import PAIRS


@pytest.fixture
def job(home: Path, tiny_model: Path, pairs_file: Path) -> RunningJob:
    running_job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "validation": 0.0})
    run_precompute(running_job)
    return running_job


def test_texts_and_tokens_give_what_the_job_reads(job: RunningJob, tiny_model: Path) -> None:
    cache = ReferenceCache.open(job.home.cache)
    reference = ReferenceLogprobs(cache, job.fingerprint.name[:6])
    tokenizer = mlx_lm.utils.load_tokenizer(tiny_model)
    example = job.data.train[0]
    pair = PAIRS[example.row - 1]
    chosen, absent = reference.of_texts([(pair["prompt"], pair["chosen"]), (pair["prompt"], "Other.")], tokenizer)
    assert absent is None
    (expected,) = job.store.get([job.key(example.chosen)])
    assert chosen is not None
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_array_equal(reference.of_tokens(example.chosen.ids.tolist(), example.chosen.start), expected)
    with pytest.raises(MissingEntry):
        reference.of_tokens([1, 2, 3], 1)
    assert sorted(map(len, reference.every())) == sorted(
        len(side.ids) - side.start for each in job.examples for side in (each.chosen, each.rejected)
    )


def test_truncation_is_part_of_what_was_scored(job: RunningJob, tiny_model: Path) -> None:
    reference = ReferenceLogprobs(ReferenceCache.open(job.home.cache), "")
    tokenizer = mlx_lm.utils.load_tokenizer(tiny_model)
    pair = (PAIRS[3]["prompt"], PAIRS[3]["rejected"])
    whole, cut = (reference.of_texts([pair], tokenizer, length)[0] for length in (1024, 60))
    assert whole is not None
    assert cut is None


def test_an_unknown_reference_is_told_with_those_there_are(job: RunningJob) -> None:
    with pytest.raises(
        UnknownReference, match=f"no reference starts with 'zz'; in .* there are: {job.fingerprint.name[:12]}"
    ):
        ReferenceLogprobs(ReferenceCache.open(job.home.cache), "zz")


def test_every_reference_is_known_by_its_stored_identity(job: RunningJob) -> None:
    (info,) = ReferenceCache.open(job.home.cache).references()
    assert info.fingerprint == job.fingerprint.name
    assert json.loads(json.dumps(dict(info.identity))) == dict(job.fingerprint.identity)


def test_a_lookup_has_the_jobs_eos_date_and_template_arguments(home: Path, tmp_path: Path) -> None:
    template = "{{ strftime_now('%Y') }}{{ tone }}\n" + tiny.CHATML
    model = tiny.build_chat(tmp_path / "model", template, [0, 2], eos_token="<|endoftext|>")
    data = {"path": str(tmp_path / "a.jsonl"), "date": "1999-05-01", "chat_template_kwargs": {"tone": "kind"}}
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"prompt": "q", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"})
    )
    running_job = make_job(home, model=str(model), data=data)
    run_precompute(running_job)
    reference = ReferenceLogprobs(ReferenceCache.open(running_job.home.cache), "")
    tokenizer = load_tokenizer(model)
    sides = [("q", "a"), ("q", [{"role": "assistant", "content": [{"type": "text", "text": "b"}]}])]
    scores = reference.of_texts(sides, tokenizer, date="1999-05-01", chat_template_kwargs={"tone": "kind"})
    assert [None if each is None else len(each) for each in scores] == [2, 2]
    assert reference.of_texts(sides[:1], tokenizer, date="2000-05-01", chat_template_kwargs={"tone": "kind"}) == [None]
    assert reference.of_texts(sides[:1], tokenizer, date="1999-05-01") == [None]


def test_a_loss_of_ones_own_has_the_value_and_gradient_of_one_graph_of_full_logits(tiny_model: Path) -> None:
    model, _ = mlx_lm.load(str(tiny_model))
    model.freeze()
    model.layers[0].self_attn.q_proj.unfreeze()
    sequences = [([5, 6, 7, 8, 9], 2), ([5, 6, 9, 3], 2)]

    def compare(logprobs: Sequence[mx.array]) -> mx.array:
        return nn.softplus(logprobs[1].sum() - logprobs[0].sum()) + (logprobs[0] ** 2).sum()

    def compute() -> mx.array:
        rows = []
        for ids, start in sequences:
            logits = model(mx.array([ids[:-1]]))[0].astype(mx.float32)
            logprobs = logits - mx.logsumexp(logits, -1, keepdims=True)
            rows.append(mx.take_along_axis(logprobs, mx.array(ids[1:])[:, None], -1)[start - 1 :, 0])
        return compare(rows)

    policy = PolicyLogprobs(model)
    value, gradient = policy.differentiate(compare, sequences)
    expected, by_parameter = nn.value_and_grad(model, compute)()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (own,), (other,) = (list(dict(tree_flatten(each)).values()) for each in (gradient, by_parameter))
    assert mx.abs(own - other).max() <= 1e-4 * mx.abs(other).max()
    assert compare([mx.array(each) for each in policy.of_tokens(sequences)]).item() == pytest.approx(value.item())
    for wrong, words in (
        (([5, 6], 0), "a completion from 1 on, got 0"),
        (([5, 10**6], 1), "token 1000000 is not among"),
    ):
        with pytest.raises(ValueError, match=words):
            policy.of_tokens([wrong])
