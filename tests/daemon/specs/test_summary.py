from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.specs.summary import spec_facts
from prefd.daemon.text.wording import format_amount
from support import homes


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"training": None}, "training", "none: the job only fills the cache"),
        (
            {"training": {"fine_tune": "full", "iters": 50}},
            "training",
            "full; 50 steps, 4 pairs a batch; adamw at 1e-05; seed 0",
        ),
        (
            {"training": {"quantize": {"bits": 4}, "gradient_accumulation_steps": 8, "epochs": 2.0}},
            "training",
            "lora of rank 8 on 4-bit weights; 2 epochs, 4 pairs a batch × 8 accumulated; adamw at 1e-05; seed 0",
        ),
        (
            {
                "training": {
                    "optimizer": "muon",
                    "learning_rate": 1e-3,
                    "lr_schedule": {"name": "cosine_decay", "warmup": 0.1},
                    "max_grad_norm": 1.0,
                    "steps_per_eval": 10,
                    "early_stopping": {"patience": 2},
                    "load_best_model_at_end": True,
                }
            },
            "training",
            (
                "lora of rank 8; 1 epoch, 4 pairs a batch; muon at 0.001, cosine_decay after a warmup of 10 % of the steps, "
                "clipped at 1; stops after 2 evaluations without a better eval_loss; the adapter is the best by eval_loss; seed 0"
            ),
        ),
        (
            {
                "training": {
                    "lr_schedule": {"name": "constant", "warmup": 5},
                    "best_checkpoint": {"metric": "eval_rewards/margins"},
                }
            },
            "training",
            (
                "lora of rank 8; 1 epoch, 4 pairs a batch; adamw at 1e-05, constant after 5 steps of warmup; "
                "keeps the best by eval_rewards/margins; seed 0"
            ),
        ),
        (
            {"training": {"qat": {"bits": 3, "start_step": 20}, "iters": 50}},
            "training",
            "lora of rank 8, rounded to 3 bits after step 20; 50 steps, 4 pairs a batch; adamw at 1e-05; seed 0",
        ),
        ({"output": {"peft": True}}, "output", "the adapter and a PEFT adapter"),
        (
            {"output": {"fuse": True, "dequantize": True, "peft": True}},
            "output",
            "the adapter, a fused model in full precision and a PEFT adapter",
        ),
        ({"reference": {"model": "org/base"}}, "reference", "org/base"),
        (
            {"reference": {"live": "adapter_off"}, "training": {}},
            "reference",
            "the policy with its adapter off, beside training",
        ),
        ({"loss": {"name": "sigmoid"}}, "loss", "sigmoid"),
        (
            {"loss": [{"name": "ipo", "beta": 0.2}, {"name": "sft", "weight": 0.1}]},
            "loss",
            "ipo (beta 0.2) + 0.1 × sft",
        ),
        ({"loss": {"name": "dpop", "beta": 0.2, "delta": 10.0}}, "loss", "dpop (beta 0.2, delta 10.0)"),
    ],
)
def test_spec_facts_say_what_would_run(changes: dict[str, Any], name: str, message: str) -> None:
    assert (name, message) in spec_facts(homes.make_spec(**changes))


def test_a_loss_without_reference_has_none() -> None:
    spec = homes.make_spec(loss={"name": "cpo"}, reference={"model": "org/base"})
    assert dict(spec_facts(spec, needs_reference=False))["reference"] == "none: the loss does without"


@pytest.mark.parametrize(
    ("count", "message"), [(1, "1 epoch"), (1.0, "1 epoch"), (0.5, "0.5 epochs"), (11, "11 epochs")]
)
def test_amounts_are_english(count: float, message: str) -> None:
    assert format_amount(count, "epoch") == message
