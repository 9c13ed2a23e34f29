"""Writes numbers.json: what TRL 1.16's own trainers make of one batch of log-probabilities, and how the tests of prefd hold to it.

    python -m venv trl && trl/bin/pip install trl==1.16 torch==2.13.0
    trl/bin/python contrib/prefd-trl-losses/parity/make_numbers.py > contrib/prefd-trl-losses/parity/numbers.json

No model is run: a stand-in gives TRL's code the per-token log-probabilities of `make_batch`, which are numpy's and so the same
wherever this runs. Each loss is the mean over the batch, in float32, with its gradient by the policy's log-probabilities of the answers.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np

PAIRS, WIDTH, PROMPT = 4, 6, 2


def make_batch(seed: int = 7) -> dict[str, Any]:
    """Make per-token log-probabilities (2 · PAIRS, WIDTH), the first half of chosen answers, and how long each answer is."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, WIDTH + 1, 2 * PAIRS)
    mask = np.arange(WIDTH) < lengths[:, None]
    reference = -random.gamma(2.0, 0.5, mask.shape) * mask
    policy = np.minimum(reference + random.normal(0.2, 0.4, mask.shape), -1e-3) * mask
    squares = -random.gamma(1.0, 0.4, mask.shape) * mask
    return {"lengths": lengths.tolist(), "policy": policy, "reference": reference, "log_sum_squares": squares}


def main() -> None:
    """Print the table."""
    import torch
    import transformers
    import trl

    batch = make_batch()
    losses = {**run_dpo(batch), **run_kto(batch), **run_reference_free(batch)}
    table = {
        "made with": {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "batch": {name: np.asarray(value).round(9).tolist() for name, value in batch.items()},
    }
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in losses.items()]
    head = json.dumps({name: table[name] for name in ("made with", "batch")})
    sys.stdout.write(head.removesuffix("}") + ', "losses": {\n' + ",\n".join(lines) + "\n}}\n")


def stand_in(**attributes: Any) -> Any:
    """Make what TRL's method takes for its trainer."""
    import torch

    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather_for_metrics=lambda value: value, gather=lambda value: value
    )
    common = {
        "model": SimpleNamespace(training=True),
        "accelerator": accelerator,
        "aux_loss_enabled": False,
        "precompute_ref_logps": True,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "is_deepspeed_enabled": False,
    }
    return SimpleNamespace(**{**common, **attributes})


def give(policy: Any, squares: Any) -> Any:
    """Make a model that gives these log-probabilities, behind PROMPT tokens of a prompt."""
    import torch

    def model(**_: Any) -> Any:
        def behind_prompt(values: Any) -> Any:
            return torch.cat([torch.zeros(len(values), PROMPT - 1), values], dim=1)

        zeros = torch.zeros(len(policy), PROMPT - 1 + WIDTH)
        return SimpleNamespace(
            log_probs=behind_prompt(policy),
            log_sum_sq_probs=behind_prompt(squares),
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
        )

    return model


def make_inputs(lengths: Any) -> dict[str, Any]:
    """Make token ids and masks of answers of these lengths."""
    import torch

    mask = torch.arange(WIDTH)[None] < torch.tensor(lengths)[:, None]
    prompt = torch.zeros(len(lengths), PROMPT, dtype=torch.long)
    return {
        "input_ids": torch.ones(len(lengths), PROMPT + WIDTH, dtype=torch.long),
        "attention_mask": torch.ones(len(lengths), PROMPT + WIDTH, dtype=torch.long),
        "completion_mask": torch.cat([prompt, mask.long()], dim=1),
    }


def describe(loss: Any, policy: Any, **settings: Any) -> dict[str, Any]:
    """Describe a loss with its gradient."""
    loss.backward()
    return {"settings": settings, "loss": loss.item(), "gradient": policy.grad.double().numpy().round(9).tolist()}


def run_dpo(batch: dict[str, Any]) -> dict[str, Any]:
    """Run the losses of DPOTrainer."""
    import torch
    from trl import DPOTrainer

    results = {}
    variants: dict[str, dict[str, Any]] = {
        "sigmoid": {},
        "wpo": {"use_weighting": True},
        "sigmoid_forward_kl": {"f_divergence_type": "forward_kl"},
        "sigmoid_js": {"f_divergence_type": "js_divergence"},
        "sigmoid_alpha": {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.5},
    }
    for name, variant in variants.items():
        policy = torch.tensor(batch["policy"], dtype=torch.float32, requires_grad=True)
        reference = torch.tensor(batch["reference"], dtype=torch.float32).sum(1)
        trainer = stand_in(
            **{
                "ld_alpha": None,
                "f_divergence_type": "reverse_kl",
                "f_alpha_divergence_coef": 0.5,
                "loss_types": ["sigmoid"],
                "loss_weights": [1.0],
                "beta": 0.3,
                "label_smoothing": 0.0,
                "use_weighting": False,
                **variant,
            }
        )
        inputs = make_inputs(batch["lengths"]) | {
            "ref_chosen_logps": reference[:PAIRS],
            "ref_rejected_logps": reference[PAIRS:],
        }
        model = give(policy, torch.tensor(batch["log_sum_squares"], dtype=torch.float32))
        loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
        results[name] = describe(loss, policy, beta=0.3)
    return results


def run_kto(batch: dict[str, Any]) -> dict[str, Any]:
    """Run the losses of KTOTrainer: the first half are the answers, those of an odd number bad ones; the second half the mismatched."""
    import torch
    from trl import KTOTrainer

    results = {}
    labels = [index % 2 == 0 for index in range(PAIRS)]
    for name in ("kto", "apo_zero_unpaired"):
        policy = torch.tensor(batch["policy"], dtype=torch.float32, requires_grad=True)
        reference = torch.tensor(batch["reference"], dtype=torch.float32).sum(1)
        mismatched = policy[PAIRS:].sum(1).detach()
        trainer = stand_in(
            beta=0.3,
            desirable_weight=1.0,
            undesirable_weight=1.5,
            loss_type=name,
            calculate_KL=name == "kto",
            _compute_kl_logps=lambda *_, value=mismatched: value,
        )
        inputs = make_inputs(batch["lengths"][:PAIRS]) | {
            "label": torch.tensor(labels),
            "ref_logps": reference[:PAIRS],
            "ref_KL_logps": reference[PAIRS:],
        }
        model = give(policy[:PAIRS], torch.tensor(batch["log_sum_squares"], dtype=torch.float32)[:PAIRS])
        loss = KTOTrainer._compute_loss(trainer, model, inputs, False)
        results[name] = describe(loss, policy, beta=0.3, desirable_weight=1.0, undesirable_weight=1.5) | {
            "labels": labels,
            "kl": trainer._metrics["train"]["kl"][-1],
        }
    return results


def run_reference_free(batch: dict[str, Any]) -> dict[str, Any]:
    """Run ORPO's odds ratio, and AlphaPO, on the mean log-probabilities of the answers."""
    import torch
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    results = {}
    lengths = torch.tensor(batch["lengths"])
    for name, alpha in (("orpo", 0.0), ("simpo", 0.0), ("alphapo", 0.25), ("alphapo_negative", -0.5)):
        policy = torch.tensor(batch["policy"], dtype=torch.float32, requires_grad=True)
        means = policy.sum(1) / lengths
        if name == "orpo":
            ratios, *_ = ORPOTrainer.odds_ratio_loss(stand_in(beta=0.3), means[:PAIRS], means[PAIRS:])
            loss, settings = -means[:PAIRS].mean() - ratios.mean(), {"beta": 0.3}
        else:
            trainer = stand_in(beta=2.0, alpha=alpha, loss_type="simpo", simpo_gamma=0.5, label_smoothing=0.1)
            losses, *_ = CPOTrainer.cpo_loss(trainer, means[:PAIRS], means[PAIRS:])
            loss, settings = losses.mean(), {"beta": 2.0, "gamma": 0.5, "label_smoothing": 0.1, "alpha": alpha}
        results[name] = describe(loss, policy, **settings)
    return results


if __name__ == "__main__":
    main()
