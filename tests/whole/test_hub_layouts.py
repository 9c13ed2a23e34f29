"""Jobs on rows with the columns of much-used datasets: what the reference scored is the question with its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from prefd.daemon.notebook import ReferenceLogprobs
from support.jobs_on_disk import job, run_precompute, run_training

TRIPLES = [
    ("Name a prime.", "Seven is one.", "Nine."),
    ("Is water wet?", "Yes, it is.", "No idea."),
    ("What is two and two?", "Four.", "It may be five."),
]
SYSTEM = "Be terse."


def orca(place: int, question: str, better: str, worse: str) -> dict[str, Any]:
    """Intel/orca_dpo_pairs"""
    return {"system": SYSTEM, "question": question, "chosen": better, "rejected": worse}


def pku(place: int, question: str, better: str, worse: str) -> dict[str, Any]:
    """PKU-Alignment/PKU-SafeRLHF; the better answer is now the first and now the second."""
    answers = (better, worse) if place % 2 == 0 else (worse, better)
    return {
        "prompt": question,
        "response_0": answers[0],
        "response_1": answers[1],
        "prompt_source": "s",
        "is_response_0_safe": True,
        "is_response_1_safe": True,
        "better_response_id": place % 2,
        "safer_response_id": place % 2,
    }


def helpsteer(place: int, question: str, better: str, worse: str) -> dict[str, Any]:
    """nvidia/HelpSteer3: below 0 the first answer is preferred."""
    answers = (better, worse) if place % 2 == 0 else (worse, better)
    return {
        "domain": "general",
        "language": "english",
        "context": [{"role": "user", "content": question}],
        "response1": answers[0],
        "response2": answers[1],
        "overall_preference": -2 if place % 2 == 0 else 3,
        "individual_preference": [],
    }


def openai(place: int, question: str, better: str, worse: str) -> dict[str, Any]:
    """The preference files of OpenAI's fine-tuning"""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    return {
        "input": {"messages": messages, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


@pytest.mark.parametrize(("shape", "system"), [(orca, True), (pku, False), (helpsteer, False), (openai, True)])
def test_the_question_is_scored_with_its_answers_and_nothing_else_is(
    home: Path, tmp_path: Path, tiny_model: Path, shape: Any, system: bool
) -> None:
    lines = [json.dumps(shape(place, *triple)) for place, triple in enumerate(TRIPLES)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = {"validation": 0.0, "max_length": 256}
    running_job = job(home, tiny_model, tmp_path / "rows.jsonl", training={"iters": 2}, data=data)
    assert run_precompute(running_job).summary.scored == 6
    assert run_training(running_job).summary.pairs == 3

    cache = ReferenceCache.open(Home(home).cache)
    [stored_reference] = cache.references()
    reference = ReferenceLogprobs(cache, stored_reference.fingerprint)
    turns = [{"role": "system", "content": SYSTEM}] if system else []
    questions = [
        ([*turns, {"role": "user", "content": question}], answer)
        for question, *answers in TRIPLES
        for answer in answers
    ]
    tokenizer = load_tokenizer(tiny_model)
    assert all(logprobs is not None for logprobs in reference.of_texts(questions, tokenizer, 256))
    assert len(list(reference.every())) == len(questions)
    swapped = [([*turns, {"role": "user", "content": TRIPLES[0][0]}], TRIPLES[1][1])]
    assert list(reference.of_texts(swapped, tokenizer, 256)) == [None]
