"""Makes completions of a client's datums, and refuses with a sentence what cannot be done as it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.losses import LOSSES, Given, TokenLoss
from prefd.daemon.worker.models.lookup_tables import Tables
from prefd.daemon.worker_tasks.live_requests import Datum, ForwardBackwardRequest, ForwardRequest

GIVEN = ("weights", "advantages", "logprobs")


@dataclass(frozen=True)
class Vocabulary:
    """Vocabulary checks token ids and lengths against the tables that the model looks them up in: MLX checks no index."""

    tables: Tables
    model: str

    def make_completion(self, ids: Sequence[int], start: int, place: str) -> Completion:
        """Make a completion of `ids` whose answer begins at `start`. Raises `JobError` for what the model has no row for."""
        wrong = next((token for token in ids if not 0 <= token < (self.tables.tokens or 2**31)), None)
        if wrong is not None:
            raise JobError(
                f"{place}: token {wrong} is not in the vocabulary of {self.model}, which has {self.tables.tokens} tokens; "
                "were the tokens made with its own tokenizer?"
            )
        if self.tables.positions is not None and len(ids) > self.tables.positions:
            raise JobError(
                f"{place} has {len(ids)} tokens, and {self.model} has {self.tables.positions} positions "
                f"({self.tables.positions_name}); make it shorter"
            )
        if self.tables.made_for is not None and len(ids) > self.tables.made_for:
            raise JobError(
                f"{place} has {len(ids)} tokens, and {self.model} was made for {self.tables.made_for}; make it shorter"
            )
        array = np.array(ids, np.uint32)
        array.flags.writeable = False
        return Completion(array, start)


def make_completions(request: ForwardRequest | ForwardBackwardRequest, vocabulary: Vocabulary) -> list[Completion]:
    """Make a completion of every datum, each of whose targets is predicted. Raises `JobError` for one that cannot be scored."""
    if not request.data:
        raise JobError(f"{request.kind}: data is empty; give it one datum at least")
    loss = find_loss(request)
    return [
        _make_completion(datum, loss, request.loss_fn, f"data[{index}]", vocabulary)
        for index, datum in enumerate(request.data)
    ]


def find_loss(request: ForwardRequest | ForwardBackwardRequest) -> TokenLoss:
    """Find the loss that the request names. Raises `JobError` for one that is not here, or for settings, which none here takes."""
    loss = LOSSES.get(request.loss_fn)
    if loss is None:
        raise JobError(
            f"loss_fn {request.loss_fn!r} is not supported here; use {' or '.join(LOSSES)}, or forward_backward_custom with a "
            "loss of your own"
        )
    if request.loss_fn_config:
        raise JobError(
            f"loss_fn_config: {request.loss_fn} takes none here, and {', '.join(sorted(request.loss_fn_config))} would be passed "
            "over; leave it out, or use forward_backward_custom with a loss of your own"
        )
    return loss


def _make_completion(datum: Datum, loss: TokenLoss, name: str, place: str, vocabulary: Vocabulary) -> Completion:
    tokens, targets = list(datum.tokens), list(datum.targets)
    if not tokens:
        raise JobError(f"{place} has no tokens")
    if len(targets) != len(tokens):
        raise JobError(
            f"{place} has {len(tokens)} tokens and {len(targets)} targets; there is one target for each token"
        )
    if targets[:-1] != tokens[1:]:
        index = next(i for i, (target, token) in enumerate(zip(targets, tokens[1:])) if target != token)
        raise JobError(
            f"{place}: target {index} is {targets[index]} and the next token is {tokens[index + 1]}; here the targets are the "
            "tokens moved by one (distillation to other targets is not supported)"
        )
    for input_name in GIVEN:
        values = getattr(datum, input_name)
        if values is None:
            if input_name in loss.takes and input_name not in loss.defaults:
                raise JobError(
                    f"{place}: {name} takes {' and '.join(loss.takes)} for each target; {input_name} is missing"
                )
        elif input_name not in loss.takes:
            raise JobError(
                f"{place}: {name} takes {' and '.join(loss.takes)}; {input_name} would be passed over: leave it out"
            )
        elif len(values) != len(targets):
            raise JobError(
                f"{place} has {len(targets)} targets and {len(values)} {input_name}; there is one for each target"
            )
    return vocabulary.make_completion([*tokens, targets[-1]], 1, place)


def pad_given(data: Sequence[Datum], loss: TokenLoss) -> Given:
    """Pad what the client gives for each target to (B, T), 0 behind each end."""
    width = max(len(datum.targets) for datum in data)
    padded = {name: np.zeros((len(data), width), np.float32) for name in loss.takes}
    for name, table in padded.items():
        for row, datum in zip(table, data):
            values = getattr(datum, name)
            row[: len(datum.targets)] = loss.defaults[name] if values is None else values
    return {name: mx.array(table) for name, table in padded.items()}
