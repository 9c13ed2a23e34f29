"""Caches of a pass over a prompt, for the passes that continue from it: one a layer, and nothing is ever overwritten.

mlx-lm's caches are made for generation: a buffer that is written in place and thrown away. Here a cache is a value.
Several continuations start from the same one, gradients flow through it, and a checkpointed pass may run twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import CacheList, KVCache, RotatingKVCache, make_prompt_cache

OnArray = Callable[[mx.array], mx.array]


class JoinedKV:
    """JoinedKV holds keys and values as they came, (B, heads, tokens, dim) a piece, joined when they are read.

    Stands in for mlx-lm's `KVCache` and `RotatingKVCache`: nothing is forgotten, and a sliding window is the mask's
    business, as in a pass without a cache. `padding` (B,) counts the tokens at the left of each row that are none.
    `grouped`: the model's attention scores have an axis for the queries that share a key, and so must its masks.
    """

    def __init__(
        self,
        pieces: list[tuple[mx.array, mx.array]] | None = None,
        padding: mx.array | None = None,
        grouped: bool = False,
    ) -> None:
        self.pieces = pieces or []
        self.padding = padding
        self.grouped = grouped

    @property
    def size(self) -> int:
        """Return the number of tokens so far, padding included."""
        return sum(keys.shape[2] for keys, _ in self.pieces)

    @property
    def offset(self) -> int | mx.array:
        """Return the position of the next token: (B,) where rows are padded."""
        return self.size if self.padding is None else self.size - self.padding

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append another piece, (B, heads, tokens, dim) each; returns everything so far."""
        self.pieces = [*self.pieces, (keys, values)]
        return self.keys_and_values()

    def skip(self, batch: int, tokens: int) -> None:
        """Count `tokens` more tokens of `batch` rows, with no keys or values: for a layer that does not run now."""
        nothing = mx.zeros((batch, 1, tokens, 0))
        self.pieces = [*self.pieces, (nothing, nothing)]

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """Join the pieces: (B, heads, size, dim) each; there must be a piece."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return (
            mx.concatenate([keys for keys, _ in self.pieces], axis=2),
            mx.concatenate([values for _, values in self.pieces], axis=2),
        )

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> mx.array | str | None:
        """Make the mask as mlx-lm's own caches do: "causal", booleans ([B, 1,] N, size + N), or None for a single token."""
        if self.padding is not None or window_size is not None or return_array:
            mask: mx.array = create_causal_mask(N, offset=self.size, window_size=window_size, left_padding=self.padding)
            return mask[:, None] if self.grouped and mask.ndim == 4 else mask
        return None if N == 1 else "causal"

    def empty(self) -> bool:
        """Say whether no piece has come yet."""
        return not self.pieces


def make_caches(model: nn.Module, padding: mx.array | None = None, grouped: bool = False) -> list[Any]:
    """Make empty caches for every layer of `model`; `padding` and `grouped` as in JoinedKV."""
    return [_replace_cache(cache, padding, grouped) for cache in make_prompt_cache(model)]


def _replace_cache(cache: Any, padding: mx.array | None, grouped: bool) -> Any:
    if type(cache) in (KVCache, RotatingKVCache):
        return JoinedKV(padding=padding, grouped=grouped)
    if type(cache) is CacheList:
        return CacheList(*(_replace_cache(each, padding, grouped) for each in cache.caches))
    return cache


def can_pad(caches: list[Any]) -> bool:
    """Say whether rows of different lengths can go in one batch, padded at the left: not through a recurrent state."""
    return all(
        can_pad(list(cache.caches)) if isinstance(cache, CacheList) else isinstance(cache, JoinedKV) for cache in caches
    )


def skip_tokens(cache: Any, batch: int, tokens: int) -> None:
    """Have `cache` count tokens of a layer that does not run now. A recurrent state counts none."""
    if isinstance(cache, CacheList):
        for each in cache.caches:
            skip_tokens(each, batch, tokens)
    elif isinstance(cache, JoinedKV):
        cache.skip(batch, tokens)


def map_cache(cache: Any, on_array: OnArray) -> Any:
    """Copy `cache` with `on_array` applied to each of its arrays, always in the same order."""
    if isinstance(cache, JoinedKV):
        pieces = [(on_array(keys), on_array(values)) for keys, values in cache.pieces]
        return JoinedKV(pieces, None if cache.padding is None else on_array(cache.padding), cache.grouped)
    if isinstance(cache, CacheList):
        return CacheList(*(map_cache(each, on_array) for each in cache.caches))
    cache_copy = copy.copy(cache)
    cache_copy.state = tree_map(lambda leaf: on_array(leaf) if isinstance(leaf, mx.array) else leaf, cache.state)
    return cache_copy


def take_rows(caches: list[Any], rows: mx.array, batch: int) -> list[Any]:
    """Take `rows` of the caches of a batch of `batch` rows, in that order, with repetitions."""
    return [
        map_cache(cache, lambda array: array[rows] if array.ndim and len(array) == batch else array) for cache in caches
    ]
