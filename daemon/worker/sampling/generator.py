"""Draws continuations of a prompt with mlx-lm, each from a seed of its own, so that a request repeats to the token."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.sample_utils import make_sampler

from prefd.daemon.worker.errors import Interrupted, JobError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.lookup_tables import Tables
from prefd.daemon.worker.models.pass_length import PREFILL_TOKENS
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker_tasks.live_requests import SampledSequence, SampleRequest, SamplingParams

LEAST_PREFILL_TOKENS = 64
LEAST_TOP_P = 1e-9
"""A top_p that leaves the likeliest token alone."""


@dataclass(frozen=True)
class Generator:
    """Generator draws tokens; `session` is what seeds are made from where a client gives none."""

    source: ModelSource
    tables: Tables
    session: str
    stop: StopEvent
    most_tokens: int = PREFILL_TOKENS
    """Tokens of a prompt that the device is given at once, where that is fewer: a GPU ends passes that keep the display waiting."""

    @cached_property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer, which knows its end tokens; it is loaded when it is first needed."""
        return loading.tokenizer(self.source)

    def sample(self, model: nn.Module, request: SampleRequest, deadline: float | None = None) -> list[SampledSequence]:
        """Draw the sequences that `request` asks for; each is cut at the `deadline`, a moment of `time.monotonic()`.

        Raises `JobError` for settings that mean nothing, `Interrupted` at a stop.
        """
        stops = Stops.read(request.params.stop, self.tokenizer)
        most = self._count_most_tokens(request)
        prompt = mx.array(list(request.tokens))
        caches = make_prompt_cache(model)
        if most:
            self._fill(model, prompt[:-1], caches)
        return [
            self._draw(model, prompt[-1:], copy.deepcopy(caches), most, stops, request, number, deadline)
            for number in range(request.num_samples)
        ]

    def _count_most_tokens(self, request: SampleRequest) -> int:
        """Count the tokens that a sequence may have: what was asked for, or as many as the model was made for."""
        room = self.tables.positions or self.tables.made_for
        if request.params.max_tokens is None and room is None:
            raise JobError(
                "sample: max_tokens is not given, and the model's config.json does not say how many it can take"
            )
        most = request.params.max_tokens
        if most is None:
            assert room is not None
            return max(0, room - len(request.tokens))
        if room is not None and len(request.tokens) + most > room:
            why = f"its positions ({self.tables.positions_name})" if self.tables.positions else "what it was made for"
            raise JobError(
                f"sample: a prompt of {len(request.tokens)} tokens and max_tokens {most} exceed the model's {room} tokens, "
                f"{why}; lower max_tokens"
            )
        return most

    def _fill(self, model: nn.Module, prompt: mx.array, caches: list[Any]) -> None:
        run: Any = model
        tokens = max(LEAST_PREFILL_TOKENS, min(PREFILL_TOKENS, self.most_tokens))
        for begin in range(0, len(prompt), tokens):
            run(prompt[None, begin : begin + tokens], cache=caches)
            mx.eval([cache.state for cache in caches])
            self._look_for_stop()

    def _draw(
        self,
        model: nn.Module,
        last: mx.array,
        caches: list[Any],
        most: int,
        stops: Stops,
        request: SampleRequest,
        number: int,
        deadline: float | None,
    ) -> SampledSequence:
        """Draw sequence `number` behind a prompt of which all but the `last` token is in `caches`."""
        tokens: list[int] = []
        logprobs: list[float] = []
        if most:
            mx.random.seed(self._make_seed(request, number))
            for token, scores in self._generate(model, last, caches, most, request.params):
                tokens.append(token)
                logprobs.append(min(float(np.array(scores[token].astype(mx.float32))), 0.0))
                if stops.end(tokens):
                    return SampledSequence(stop_reason="stop", tokens=tokens, logprobs=logprobs)
                self._look_for_stop()
                if deadline is not None and time.monotonic() >= deadline:
                    break
        return SampledSequence(stop_reason="length", tokens=tokens, logprobs=logprobs)

    def _generate(
        self, model: nn.Module, last: mx.array, caches: list[Any], most: int, params: SamplingParams
    ) -> Iterator[tuple[int, mx.array]]:
        # mlx-lm refuses a top_k of all tokens or more, and takes a top_p of 0 for "all", where it means the likeliest alone
        is_bound = 0 < params.top_k < (self.tables.tokens or 2**31)
        top_k, top_p = params.top_k if is_bound else 0, max(params.top_p, LEAST_TOP_P)
        sampler = make_sampler(temp=params.temperature, top_p=top_p, top_k=top_k)
        steps: Any = generate_step(last, model, max_tokens=most, sampler=sampler, prompt_cache=caches)
        yield from steps

    def _make_seed(self, request: SampleRequest, number: int) -> int:
        """Make the seed of sequence `number`: each of a request has another."""
        seed = f"{self.session} {request.n}" if request.params.seed is None else str(request.params.seed)
        return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:8], "big")

    def _look_for_stop(self) -> None:
        if self.stop.is_set():
            raise Interrupted("a sample")


@dataclass(frozen=True)
class Stops:
    """Stops says where a sequence ends: behind a token or a text, which are part of it."""

    tokenizer: Any
    tokens: frozenset[int]
    texts: tuple[str, ...]

    @classmethod
    def read(cls, stop: str | Sequence[str] | Sequence[int] | None, tokenizer: Any) -> Stops:
        """Read what a client asks for; the model's own end tokens are always among it."""
        stops = [stop] if isinstance(stop, str) else list(stop or ())
        tokens = {each for each in stops if isinstance(each, int)}
        texts = tuple(each for each in stops if isinstance(each, str) and each)
        return cls(tokenizer, frozenset(tokens | set(tokenizer.eos_token_ids)), texts)

    def end(self, tokens: Sequence[int]) -> bool:
        """Say whether the sequence ends with its last token."""
        if tokens[-1] in self.tokens:
            return True
        if not self.texts:
            return False
        text = self.tokenizer.decode(list(tokens))
        return any(stop in text for stop in self.texts)
