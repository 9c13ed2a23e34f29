"""Settings as other trainers call them: what each is called here is there, and none is a setting of ours."""

from __future__ import annotations

import pytest

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import read_spec
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.foreign_settings import CALLED, EXPLAINED
from prefd.daemon.text.validation_faults import list_fields

FIELDS = set(list_fields(JobSpec))


@pytest.mark.parametrize(("theirs", "ours"), CALLED.items())
def test_what_it_is_called_here_is_a_setting(theirs: str, ours: str) -> None:
    assert ours in FIELDS
    assert theirs not in {name.rpartition(".")[2] for name in FIELDS}


@pytest.mark.parametrize("theirs", EXPLAINED)
def test_what_is_said_is_of_nothing_that_is_there(theirs: str) -> None:
    assert theirs not in {name.rpartition(".")[2] for name in FIELDS}


@pytest.mark.parametrize(
    ("block", "key", "line"),
    [
        (
            "data",
            "max_prompt_length",
            "data.max_length bounds prompt and answer together: the end of the answer is cut",
        ),
        ("training", "lora_alpha", "mlx-lm has a scale in its place, alpha / rank: training.lora.scale"),
        ("training", "num_train_epochs", "it is called training.epochs here"),
        ("training", "eval_batch_size", "held-out pairs are run in micro-batches as the others are"),
        ("training", "beta", "it is a parameter of the loss: loss: {name: …, beta: …}"),
        ("data", "answer_feature", "known here: "),
        ("training", "bits", "did you mean training.quantize.bits or training.qat.bits?"),
    ],
)
def test_an_unknown_key_is_answered_with_what_it_is_here(block: str, key: str, line: str) -> None:
    blocks = {"data": {"path": "org/pairs"}, "training": {"iters": 1}}
    blocks[block][key] = 1
    text = f"model: org/name\ndata: {blocks['data']}\ntraining: {blocks['training']}\n".replace("'", "")
    with pytest.raises(SpecError) as raised:
        read_spec(text.encode(), "a.yaml")
    (answer,) = raised.value.lines
    assert f"{block}.{key}: unknown key; {line}" in answer
