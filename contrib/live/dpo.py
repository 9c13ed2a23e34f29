"""Trains on preference pairs from the client's side: the loss is a function here, the model is wherever the service is.

It needs `pip install tinker torch`, a service (`prefd serve`, or a remote one), and two variables: TINKER_BASE_URL and
TINKER_API_KEY. Each step is one `forward_backward_custom` over all pairs and one `optim_step`.

    python contrib/live/dpo.py --model local/smol --pairs pairs.jsonl

The loss is Bradley and Terry's (1952): −log σ(β·(log π(chosen) − log π(rejected))). With `--reference` it is DPO's, of Rafailov et
al. (2023, equation 7): from each log-probability that of the untrained model is taken off, asked once with `compute_logprobs`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinker
import torch
from tinker import types
from torch.nn import functional

PAIRS = [
    ("How do I stay calm before an exam?", "Breathe slowly and begin with what you know.", "Do not bother."),
    ("Can you explain what a variable is?", "It is a name for a value that may change.", "Look it up yourself."),
    ("My plant is turning yellow. Why?", "It may have too much water; let the soil dry.", "Plants just die."),
    ("Suggest a simple dinner.", "Pasta with tomatoes, garlic and basil is quick.", "Food."),
]
"""(prompt, chosen, rejected), where no file is given."""


@dataclass(frozen=True)
class Side:
    """An answer behind its prompt: its tokens, and where the answer begins."""

    tokens: list[int]
    start: int

    @property
    def datum(self) -> types.Datum:
        """Every token but the first is to be predicted; the weights say that the answer's count."""
        counts = [float(place >= self.start) for place in range(1, len(self.tokens))]
        inputs: Any = {"target_tokens": self.tokens[1:], "weights": counts}
        return types.Datum(model_input=types.ModelInput.from_ints(self.tokens[:-1]), loss_fn_inputs=inputs)

    def sum_answer(self, logprobs: torch.Tensor) -> torch.Tensor:
        """Add up the log-probabilities of the answer's tokens; `logprobs` are those of all tokens but the first."""
        return logprobs[self.start - 1 :].sum()


def read_pairs(path: Path | None) -> list[tuple[str, str, str]]:
    """Read {prompt, chosen, rejected} from a JSONL file, or take the four pairs above."""
    if path is None:
        return PAIRS
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(row["prompt"], row["chosen"], row["rejected"]) for row in rows]


def encode_sides(tokenizer: Any, pairs: Sequence[tuple[str, str, str]]) -> list[Side]:
    """Encode both answers of each pair behind the prompt: chosen and rejected take turns."""
    sides = []
    for prompt, *answers in pairs:
        turns = [{"role": "user", "content": prompt}]
        head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.encode(head, add_special_tokens=False)
        for answer in answers:
            own = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
            sides.append(Side([*ids, *own], len(ids)))
    return sides


def make_loss(sides: Sequence[Side], reference: Sequence[float], beta: float) -> Callable[..., Any]:
    """Make the loss of all pairs, a mean. `reference`: the sum of each side's answer under the reference, or zeros."""
    frozen = torch.tensor(reference)

    def compare(_: list[types.Datum], logprobs: list[torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        sums = torch.stack([side.sum_answer(values) for side, values in zip(sides, logprobs, strict=True)])
        margins = (sums - frozen)[0::2] - (sums - frozen)[1::2]
        loss = -functional.logsigmoid(beta * margins).mean()
        metrics = {
            "preference_loss:mean": loss.item(),
            "pair_accuracy:mean": (margins > 0).float().mean().item(),
            "margin:mean": margins.mean().item(),
        }
        return loss, metrics

    return compare


def ask_reference(client: tinker.TrainingClient, sides: Sequence[Side]) -> list[float]:
    """Ask the model as it is now for the log-probability of every answer: all at once, and once only."""
    sampler = settle(client.save_weights_and_get_sampling_client())
    futures = [sampler.compute_logprobs(types.ModelInput.from_ints(side.tokens)) for side in sides]
    return [sum(each.result()[side.start :]) for each, side in zip(futures, sides, strict=True)]


def settle(client: Any) -> Any:
    """Wait for a client: newer versions of the library give a promise of one, older ones the client itself."""
    return client.result() if hasattr(client, "result") else client


def train(options: argparse.Namespace) -> list[float]:
    """Train as the options say, and return the loss of each step."""
    with ExitStack() as stack:
        service: Any = tinker.ServiceClient()
        if hasattr(
            service, "__exit__"
        ):  # of newer versions: the service is told of the end, and releases the model at once
            stack.enter_context(service)
        client = service.create_lora_training_client(base_model=options.model, rank=options.rank, seed=options.seed)
        return take_steps(settle(client), options)


def take_steps(client: tinker.TrainingClient, options: argparse.Namespace) -> list[float]:
    """Take the steps, save the adapter, and return the loss of each step."""
    sides = encode_sides(client.get_tokenizer(), read_pairs(options.pairs))
    reference = ask_reference(client, sides) if options.reference else [0.0] * len(sides)
    loss = make_loss(sides, reference, options.beta)
    data = [side.datum for side in sides]
    print(f"{len(data) // 2} pairs, {sum(len(side.tokens) for side in sides)} tokens, rank {options.rank}")
    losses = []
    for step in range(1, options.steps + 1):
        began = time.monotonic()
        learned = client.forward_backward_custom(data, loss)
        stepped = client.optim_step(types.AdamParams(learning_rate=options.learning_rate))
        metrics = learned.result().metrics
        stepped.result()
        losses.append(metrics["preference_loss:mean"])
        print(
            f"step {step}: loss {losses[-1]:.6f}, accuracy {metrics['pair_accuracy:mean']:.2f}, "
            f"margin {metrics['margin:mean']:.4f}, {time.monotonic() - began:.1f} s",
            flush=True,
        )
    print(f"saved: {client.save_weights_for_sampler(name=options.name).result().path}")
    return losses


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="the name that the service knows it by")
    parser.add_argument(
        "--pairs", type=Path, help="JSONL with prompt, chosen and rejected; default: four pairs of its own"
    )
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--reference", action="store_true", help="compare with the untrained model: DPO")
    parser.add_argument("--name", default="dpo-final", help="of the adapter that is saved")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train(read_options())
