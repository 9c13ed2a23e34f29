"""A program of a Tinker client that makes every call of a training program, and prints what came of each as JSON.

It is run as a process of its own, as a user's is: `python client_program.py MODEL`, with TINKER_BASE_URL and TINKER_API_KEY; with
any version of the client since 0.6.3, whose calls give a client where newer ones give a promise of one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

PROMPT, SEQUENCES = [1, 2, 5], ([5, 6, 7], [1, 2, 3, 4])
STEPS = 3
MANY = 1030


def main(base_model: str) -> None:
    """Does it all, and prints it."""
    import tinker
    from tinker import types

    def make_datum(tokens: list[int]) -> Any:
        inputs = {"target_tokens": tokens[1:], "weights": [1.0] * (len(tokens) - 1)}
        return types.Datum(model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)

    def lose(data: Any, logprobs: Any) -> Any:
        loss = sum((each**2).sum() for each in logprobs)
        return loss, {"own:sum": float(loss.detach())}

    def read(output: Any) -> list[list[float]]:
        return [[float(number) for number in each["logprobs"].tolist()] for each in output.loss_fn_outputs]

    data = [make_datum(tokens) for tokens in SEQUENCES]
    prompt = types.ModelInput.from_ints(PROMPT)
    seen: dict[str, Any] = {"losses": []}
    service = tinker.ServiceClient()
    seen["models"] = [each.model_name for each in service.get_server_capabilities().supported_models]
    training = settle(service.create_lora_training_client(base_model=base_model, rank=8, seed=1))
    reference = settle(training.save_weights_and_get_sampling_client())
    seen["reference"] = reference.compute_logprobs(prompt).result()
    settings = types.AdamParams(learning_rate=1e-2)
    seen["first"] = read(training.forward(data, "cross_entropy").result())
    for _ in range(STEPS):
        training.forward(data, "cross_entropy").result()  # which must leave no gradient
        seen["losses"].append(training.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
        seen["step"] = training.optim_step(settings).result().metrics
    seen["custom"] = training.forward_backward_custom(data, lose).result().metrics
    training.optim_step(settings).result()
    state = training.save_state("kept").result().path
    seen["sampler"] = training.save_weights_for_sampler("smp").result().path
    sampler = settle(service.create_sampling_client(model_path=seen["sampler"]))
    drawn = [sampler.sample(prompt, 2, types.SamplingParams(max_tokens=4, seed=3)).result() for _ in range(2)]
    seen["drawn"] = [[each.tokens for each in answer.sequences] for answer in drawn]
    seen["scored"] = sampler.compute_logprobs(prompt).result()
    seen["forward"] = read(training.forward([make_datum(PROMPT)], "cross_entropy").result())[0]
    many = [make_datum([5, 6, number % 250 + 3]) for number in range(MANY)]
    half = MANY // 2
    whole = training.forward(many, "cross_entropy").result()  # more than fits one request: the client cuts it
    parts = [training.forward(part, "cross_entropy").result() for part in (many[:half], many[half:])]
    seen["chunked"] = [whole.metrics["loss:sum"], sum(part.metrics["loss:sum"] for part in parts)]
    rows = zip(read(whole), [row for part in parts for row in read(part)], strict=True)
    seen["chunks_differ_by"] = max(abs(a - b) for row, other in rows for a, b in zip(row, other, strict=True))
    resumed = settle(service.create_training_client_from_state_with_optimizer(state))
    both = []
    for each in (training, resumed):
        each.forward_backward(data, "cross_entropy").result()
        each.optim_step(settings).result()
        both.append(read(each.forward(data, "cross_entropy").result()))
    seen["same_after_resuming"] = both[0] == both[1]
    seen["errors"] = []
    calls: list[Callable[[], Any]] = [
        lambda: training.forward_backward(data, "ppo").result(),
        lambda: settle(service.create_lora_training_client(base_model="no/such", rank=8)),
    ]
    for call in calls:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # which class it is differs by version
            seen["errors"].append([type(error).__name__, str(error)])
    seen["goes_on"] = read(training.forward(data, "cross_entropy").result()) == both[0]
    if hasattr(service, "__exit__"):  # of newer versions: the service is told, and releases the models at once
        service.__exit__(None, None, None)
    print(json.dumps(seen))


def settle(client: Any) -> Any:
    """The client, of what newer versions give a promise of."""
    return client.result() if hasattr(client, "result") else client


if __name__ == "__main__":
    main(sys.argv[1])
