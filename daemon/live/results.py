"""A worker's result becomes the answer that a client reads: JSON, or protobuf where the client asks for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.daemon.live.tensors import FLOAT32, pack
from prefd.daemon.live.wire import write_all, write_bytes, write_doubles, write_number
from prefd.daemon.worker_tasks.live_requests import LossResult, SampledSequence, SampleResult

PROTOBUF = "application/x-protobuf"
RECORD = "ArrayRecord"
"""How the protocol calls what a loss gives for each datum."""
FIELDS = ("elementwise_loss", "logprobs")


def encode_loss(result: LossResult) -> bytes:
    """Encode the result of a loss: all datums in one record, each field as one run of bytes with offsets."""
    fields = []
    for name in FIELDS:
        parts = [pack(getattr(each, name), "f") for each in result.loss_fn_outputs]
        offsets = [0]
        for part in parts:
            offsets.append(offsets[-1] + len(part))
        tensor = write_bytes(1, b"".join(parts)) + write_bytes(2, pack(offsets, "q")) + write_number(3, FLOAT32)
        fields.append(write_bytes(1, name) + write_bytes(2, tensor))
    record = write_bytes(1, RECORD) + write_all(2, fields) + write_number(3, len(result.loss_fn_outputs))
    return write_bytes(1, RECORD) + write_bytes(2, record) + write_doubles(3, result.metrics)


def describe_loss(result: LossResult) -> dict[str, Any]:
    """Return the same as JSON, as clients before protobuf read it."""

    def tensor(values: Sequence[float]) -> dict[str, Any]:
        return {"data": list(values), "dtype": "float32", "shape": [len(values)]}

    outputs = [{name: tensor(getattr(each, name)) for name in FIELDS} for each in result.loss_fn_outputs]
    return {"loss_fn_output_type": RECORD, "loss_fn_outputs": outputs, "metrics": dict(result.metrics)}


def encode_sample(result: SampleResult) -> bytes:
    """Encode the result of a sampling request; a position without a log-probability is NaN."""

    def sequence(each: SampledSequence) -> bytes:
        stop = write_number(1, 1 if each.stop_reason == "length" else 0)
        return stop + write_bytes(2, pack(each.tokens, "i")) + write_bytes(3, pack(each.logprobs, "f"))

    message = write_all(1, map(sequence, result.sequences))
    if result.prompt_logprobs is not None:
        numbers = [math.nan if each is None else each for each in result.prompt_logprobs]
        message += write_bytes(2, pack(numbers, "f"))
    return message


def describe_sample(result: SampleResult) -> dict[str, Any]:
    """Return the same as JSON."""
    sequences = [
        {"stop_reason": each.stop_reason, "tokens": list(each.tokens), "logprobs": list(each.logprobs)}
        for each in result.sequences
    ]
    prompt = None if result.prompt_logprobs is None else list(result.prompt_logprobs)
    return {"type": "sample", "sequences": sequences, "prompt_logprobs": prompt}


def fill_sequences(result: SampleResult, count: int) -> SampleResult:
    """Return the result of a request for log-probabilities alone with as many empty sequences as its client counts."""
    empty = SampledSequence(stop_reason="length", tokens=[], logprobs=[])
    return result.model_copy(update={"sequences": [*result.sequences, *[empty] * (count - len(result.sequences))]})


def accepts_protobuf(headers: Mapping[str, str]) -> bool:
    """Return whether the client reads protobuf."""
    return PROTOBUF in headers.get("accept", "")
