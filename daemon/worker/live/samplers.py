"""Samplers answers who a client asks: the base model, or a saved adapter on it. The base's weights are in memory once.

An adapter that nothing was trained into is the base model, whatever its values: each `lora_b` is zero, and so is its product. So
the reference of a fresh session has the fingerprint of every other session's and of the jobs' on that model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
from mlx import nn

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.adapter_base import describe_adapter
from prefd.daemon.worker.models.shared_weights import load_beside
from prefd.daemon.worker.models.source import ModelSource, read_adapter
from prefd.daemon.worker.scoring.scorer import Scorer

MOST_ADAPTERS = 4
"""Saved adapters that stay in memory; the one that was not asked for longest goes first."""


@dataclass(frozen=True)
class Sampler:
    """Sampler is a model that is asked and not trained, with its name in the cache."""

    source: ModelSource
    scorer: Scorer
    fingerprint: ReferenceFingerprint

    @property
    def model(self) -> nn.Module:
        """Return the model, in evaluation mode."""
        return self.scorer.model


@dataclass
class Samplers:
    """Samplers loads who is asked, onto the weights of the model that `scorer` scores with."""

    base: ModelSource
    scorer: Scorer
    identify: Callable[[ModelSource], ReferenceFingerprint]
    loaded: OrderedDict[tuple[object, ...], Sampler] = field(default_factory=OrderedDict)

    def get(self, path: str | None) -> Sampler:
        """Return the sampler that is the adapter in the folder `path`, or the base model.

        Raises `JobError` for a folder that holds no adapter of this model.
        """
        key = _identify_folder(path)
        if key not in self.loaded:
            source = self.base
            if path is not None:
                self._require_own_base(Path(path))
                source = self.base if is_untouched(Path(path)) else replace(self.base, adapter=Path(path))
            own = _identify_folder(None)
            at_base = source is self.base and own in self.loaded
            self.loaded[key] = self.loaded[own] if at_base else self._load(source)
            while len(self.loaded) > MOST_ADAPTERS:
                self.loaded.popitem(last=False)
        self.loaded.move_to_end(key)
        return self.loaded[key]

    def _load(self, source: ModelSource) -> Sampler:
        model = load_beside(source, self.scorer.model)
        parts = self.scorer.parts and replace(self.scorer.parts, model=model)
        return Sampler(source, replace(self.scorer, model=model, parts=parts), self.identify(source))

    def _require_own_base(self, adapter: Path) -> None:
        if notes := describe_adapter(replace(self.base, adapter=adapter)):
            raise JobError(f"{notes[0]}; ask the session of that model")


def is_untouched(adapter: Path) -> bool:
    """Say whether the adapter in the folder changes nothing: it is LoRA, and every `lora_b` is zero."""
    config = read_adapter(adapter)
    if config.fine_tune_type != "lora":
        return False
    arrays = mx.load(str(config.weights))
    assert isinstance(arrays, dict)  # what safetensors give
    seconds = [array for name, array in arrays.items() if name.endswith(("lora_b", "lora_B.weight"))]
    return bool(seconds) and not any(bool(mx.any(array != 0).item()) for array in seconds)


def _identify_folder(path: str | None) -> tuple[object, ...]:
    """Return what changes when another adapter is saved at `path`."""
    if path is None:
        return ("the base model",)
    weights = read_adapter(Path(path)).weights.stat()
    return path, weights.st_ino, weights.st_mtime_ns, weights.st_size
