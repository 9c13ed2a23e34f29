"""A client's datum, the tokens and the inputs of its loss, becomes one that a worker takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.live.client_requests import MAX_SEQ
from prefd.daemon.live.refusal import RefusedCall, UnsupportedCall
from prefd.daemon.live.tensors import Tensor, parse_tensor, read_tensor, unpack
from prefd.daemon.live.wire import read_entry, read_fields, take_bytes, take_double, take_number, take_text

INPUTS = {"target_tokens": "targets", "weights": "weights", "advantages": "advantages", "logprobs": "logprobs"}
"""The protocol's names of what a loss reads of a datum, and the worker's."""
TEXT_ONLY = "only text is supported here, as tokens: the prompt has a part of type {}"


@dataclass
class TrainingCall:
    """TrainingCall is one forward or forward-backward request, from JSON or protobuf."""

    model_id: str = ""
    seq_id: int = 0
    data: list[dict[str, Any]] = field(default_factory=list)
    loss_fn: str = ""
    config: dict[str, float | str] = field(default_factory=dict)
    forward_only: bool = False
    unsupported: str = ""
    """Why it cannot be done, where it cannot: it has its place in the order all the same."""

    def make_document(self) -> dict[str, Any]:
        """Return the request as the worker reads it."""
        kind = "forward" if self.forward_only else "forward_backward"
        return {
            "kind": kind,
            "seq_id": self.seq_id,
            "data": self.data,
            "loss_fn": self.loss_fn,
            "loss_fn_config": self.config,
        }


def read_training_call(body: bytes) -> TrainingCall:
    """Read the protobuf of a request. Raises RefusedCall (400)."""
    call = TrainingCall()
    for number, value in read_fields(body):
        if number == 1:
            call.model_id = take_text(value)
        elif number == 2:
            call.seq_id = min(take_number(value), MAX_SEQ)
        elif number == 3:
            _add_datum(call, lambda value=value: _read_datum(take_bytes(value)))
        elif number == 4:
            call.loss_fn = take_text(value)
        elif number == 5:
            name, number_value = read_entry(value)
            call.config.setdefault(name, take_double(number_value or b"\0" * 8))
        elif number == 6:
            call.forward_only = bool(take_number(value))
        elif number == 7:
            name, either = read_entry(value)
            for kind, each in read_fields(take_bytes(either)):
                call.config[name] = take_double(each) if kind == 1 else take_text(each)
    return call


def parse_training_call(document: Mapping[str, Any], forward_only: bool) -> TrainingCall:
    """Read the JSON of a request, whose part with the data has the endpoint's name. Raises RefusedCall (400)."""
    part = document.get("forward_input") if forward_only else document.get("forward_backward_input")
    if not isinstance(part, Mapping) or not isinstance(part.get("data"), list):
        name = "forward_input" if forward_only else "forward_backward_input"
        raise RefusedCall(400, f"the request needs `{name}` with `data`, a list of datums")
    call = TrainingCall(str(document.get("model_id")), forward_only=forward_only or bool(document.get("forward_only")))
    seq_id = document.get("seq_id")
    if type(seq_id) is not int or not 0 <= seq_id <= MAX_SEQ:
        raise RefusedCall(400, "the request needs `seq_id`, its number in the model's requests")
    call.seq_id, call.loss_fn = seq_id, str(part.get("loss_fn", "cross_entropy"))
    call.config = dict(part.get("loss_fn_config") or {})
    for each in part["data"]:
        _add_datum(call, lambda each=each: _parse_datum(each))
    return call


def _add_datum(call: TrainingCall, read: Any) -> None:
    """Add a datum to the call, or note why the call cannot be done."""
    try:
        call.data.append(read())
    except (UnsupportedCall, RefusedCall) as error:
        call.unsupported = call.unsupported or str(error)


def _read_datum(data: bytes) -> dict[str, Any]:
    tokens: list[int] = []
    inputs: dict[str, Tensor] = {}
    for number, value in read_fields(data):
        if number == 1:
            tokens += _read_chunk(take_bytes(value))
        elif number == 2:
            name, tensor = read_entry(value)
            inputs[name] = read_tensor(take_bytes(tensor))
    return make_datum(tokens, inputs)


def _read_chunk(data: bytes) -> list[int]:
    tokens: list[int] = []
    for number, value in read_fields(data):
        if number != 1:
            raise UnsupportedCall(TEXT_ONLY.format({2: "image", 3: "dmel"}.get(number, number)))
        for inner, each in read_fields(take_bytes(value)):
            if inner == 1:
                tokens += unpack(take_bytes(each), "i")
    return tokens


def _parse_datum(document: Any) -> dict[str, Any]:
    if not isinstance(document, Mapping) or not isinstance(inputs := document.get("loss_fn_inputs"), Mapping):
        raise RefusedCall(400, "a datum is an object with `model_input` and `loss_fn_inputs`")
    tensors = {str(name): parse_tensor(each) for name, each in inputs.items()}
    return make_datum(parse_tokens(document.get("model_input")), tensors)


def parse_tokens(document: Any) -> list[int]:
    """Read the tokens of a prompt, whose chunks are joined. Raises RefusedCall (400), and UnsupportedCall for what is no text."""
    if not isinstance(document, Mapping) or not isinstance(chunks := document.get("chunks"), list):
        raise RefusedCall(400, "a prompt is an object with `chunks`, a list")
    tokens: list[int] = []
    for chunk in chunks:
        kind = chunk.get("type", "encoded_text") if isinstance(chunk, Mapping) else type(chunk).__name__
        if kind != "encoded_text":
            raise UnsupportedCall(TEXT_ONLY.format(kind))
        if not isinstance(part := chunk.get("tokens"), list) or not all(type(each) is int for each in part):
            raise RefusedCall(400, "a chunk's `tokens` is a list of numbers")
        tokens += part
    return tokens


def make_datum(tokens: Sequence[int], inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the datum as the worker reads it. Raises UnsupportedCall where a loss would need what there is not here."""
    datum: dict[str, Any] = {"tokens": list(tokens)}
    for name, tensor in inputs.items():
        if name not in INPUTS:
            raise UnsupportedCall(f"no loss here reads the input {name!r}; they read {', '.join(INPUTS)}")
        values = tensor.flatten(name)
        if len(values) != len(tokens):
            raise UnsupportedCall(
                f"{name} has {len(values)} values, and the prompt {len(tokens)} tokens: each needs one"
            )
        datum[INPUTS[name]] = [int(each) for each in values] if name == "target_tokens" else values
    if "targets" not in datum:
        raise UnsupportedCall("the datum has no target_tokens: one for each token, what comes behind it")
    return datum
