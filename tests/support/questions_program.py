"""A user's program that asks for the log-probabilities of 512 sequences at once, twice, and prints both answers as JSON."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

QUESTIONS, LENGTH = 512, 6


def main(base_model: str) -> None:
    """Ask, and print."""
    import tinker
    from tinker import types

    draw = random.Random(0)
    prompts = [types.ModelInput.from_ints([draw.randrange(3, 300) for _ in range(LENGTH)]) for _ in range(QUESTIONS)]
    answers: list[list[Any]] = []
    with tinker.ServiceClient() as service:
        sampler: Any = service.create_sampling_client(base_model=base_model)
        sampler = sampler.result() if hasattr(sampler, "result") else sampler
        for _ in range(2):
            futures = [sampler.compute_logprobs(prompt) for prompt in prompts]
            answers.append([each.result() for each in futures])
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1])
