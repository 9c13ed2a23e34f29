"""A user's program: the cookbook's own DPO, `train_dpo.main`, on a file of pairs; prints each step's metrics as JSON.

    python cookbook_program.py MODEL TOKENIZER PAIRS BETA LOG

With a β of 0 the same batches go through a loss without a reference, in a loop of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import chz
import datasets
import tinker
from tinker import types
from tinker_cookbook.preference import train_dpo
from tinker_cookbook.preference.dpo_datasets import DPODatasetBuilderFromComparisons
from tinker_cookbook.preference.preference_datasets import ComparisonDatasetBuilder
from tinker_cookbook.preference.types import Comparison, LabeledComparison
from tinker_cookbook.supervised.types import ChatDatasetBuilderCommonConfig
from tinker_cookbook.tokenizer_utils import register_tokenizer
from torch.nn import functional

EPOCHS, BATCH, RANK = 2, 8, 4


@chz.chz
class FileOfPairs(ComparisonDatasetBuilder):  # type: ignore[misc]  # no types where it is not installed
    """The pairs of a JSONL file, as the cookbook asks for them."""

    path: str

    def get_train_and_test_datasets(self) -> tuple[Any, None]:
        rows = [json.loads(line) for line in Path(self.path).read_text(encoding="utf-8").splitlines()]
        return datasets.Dataset.from_list(rows), None

    def example_to_labeled_comparison(self, example: dict[str, Any]) -> LabeledComparison:
        prompt, chosen, rejected = (
            [{"role": role, "content": example[name]}]
            for role, name in (("user", "prompt"), ("assistant", "chosen"), ("assistant", "rejected"))
        )
        return LabeledComparison(Comparison(prompt, chosen, rejected), "A")


def main(model: str, tokenizer: str, pairs: str, beta: float, log: str) -> list[dict[str, Any]]:
    """Train, and return the metrics of each step."""
    from transformers import AutoTokenizer

    register_tokenizer(model, lambda: AutoTokenizer.from_pretrained(tokenizer))
    common = ChatDatasetBuilderCommonConfig(
        model_name_for_tokenizer=model, renderer_name="role_colon", max_length=None, batch_size=BATCH
    )
    builder = DPODatasetBuilderFromComparisons(common_config=common, comparison_builder=FileOfPairs(path=pairs))
    if not beta:
        return train_without_reference(model, builder)
    train_dpo.main(
        train_dpo.Config(
            log_path=log,
            model_name=model,
            recipe_name="prefd-test",
            dataset_builder=builder,
            learning_rate=1e-3,
            num_epochs=EPOCHS,
            dpo_beta=beta,
            lora_rank=RANK,
            save_every=0,
            eval_every=0,
            infrequent_eval_every=0,
        )
    )
    return [json.loads(line) for line in (Path(log) / "metrics.jsonl").read_text().splitlines()]


def train_without_reference(model: str, builder: Any) -> list[dict[str, Any]]:
    """Train on the same batches with a loss that compares with no reference."""

    def compare(_: Any, logprobs: Any) -> Any:
        sums = [each.sum() for each in logprobs]
        loss = sum(-functional.logsigmoid(a - b) for a, b in zip(sums[::2], sums[1::2], strict=True))
        return loss, {"own:sum": float(loss.detach())}

    data, _ = builder()
    with tinker.ServiceClient() as service:
        client = service.create_lora_training_client(base_model=model, rank=RANK).result()
        steps = []
        for _ in range(EPOCHS):
            for batch in range(len(data)):
                steps.append(client.forward_backward_custom(data.get_batch(batch), compare).result().metrics)
                client.optim_step(types.AdamParams(learning_rate=1e-3)).result()
    return steps


if __name__ == "__main__":
    model, tokenizer, pairs, beta, log = sys.argv[1:]
    print("\n" + json.dumps(main(model, tokenizer, pairs, float(beta), log)))
