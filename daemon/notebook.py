"""ReferenceLogprobs gives notebooks the reference cache: log-probabilities of texts or token ids, as numpy.

PolicyLogprobs scores with an MLX model, and differentiates any loss.

cache = ReferenceCache.open(Path("~/.local/share/prefd/cache").expanduser())
for info in cache.references():
    print(info.fingerprint, info.provenance["model"], info.entries)
reference = ReferenceLogprobs(cache, "13dfa6")
reference.of_texts([("Name a prime.", "Seven.")], tokenizer)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.errors import PrefdError
from prefd.daemon.specs.chat_template import DEFAULT_DATE, parse_date

if TYPE_CHECKING:
    import mlx.core as mx
    from mlx import nn

    from prefd.daemon.worker.data.tokens import Completion
    from prefd.plugins.types import Text

Logprobs = npt.NDArray[np.float32]
Ids = Sequence[int] | npt.NDArray[Any]
Loss = Callable[[Sequence["mx.array"]], "mx.array"]
"""The log-probabilities of each sequence's completion (n_i − completion_start,) → a scalar."""


def load_tokenizer(model: str | Path) -> Any:
    """Loads the tokenizer of a folder or hub id as jobs have it, with the EOS tokens that the model's config names."""
    from prefd.daemon.worker.models import loading
    from prefd.daemon.worker.models.source import ModelSource

    return loading.tokenizer(ModelSource(str(model)))


class UnknownReference(PrefdError, LookupError):
    """No reference, or more than one, has a fingerprint that starts like that; the message lists those there are."""


class ReferenceLogprobs:
    """ReferenceLogprobs holds the entries of one reference of `cache`, named by the beginning of its fingerprint. Loads no model.

    Raises `UnknownReference`.
    """

    def __init__(self, cache: ReferenceCache, fingerprint: str) -> None:
        matches = [info for info in cache.references() if info.fingerprint.startswith(fingerprint)]
        if len(matches) != 1:
            fingerprints = ", ".join(info.fingerprint[:12] for info in cache.references()) or "none"
            problem = "several references start" if matches else "no reference starts"
            raise UnknownReference(f"{problem} with {fingerprint!r}; in {cache.path} there are: {fingerprints}")
        self.info = matches[0]
        self._fingerprint = ReferenceFingerprint(self.info.identity)
        self._store = cache.reference(self._fingerprint)

    def every(self) -> list[Logprobs]:
        """Returns the log-probabilities (n_i,) of every completion that was scored, in the order of their keys."""
        keys = {row.tobytes() for segment in self._store.segments for row in segment.keys}
        return [value for value in self._store.find(sorted(keys)) if value is not None]

    def of_tokens(self, ids: Ids, completion_start: int) -> Logprobs:
        """Returns the log-probability in nats of each completion token (n − completion_start,), EOS included.

        `ids` (n,) are the tokens of prompt and completion. Raises `MissingEntry` when they were never scored.
        """
        return self._store.get([self._fingerprint.key(np.asarray(ids, dtype=np.uint32), completion_start)])[0]

    def of_texts(
        self,
        pairs: Sequence[tuple[Text, Text]],
        tokenizer: Any,
        max_length: int = 1024,
        *,
        date: str = DEFAULT_DATE,
        chat_template: str = "auto",
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Logprobs | None]:
        """Returns the log-probabilities of each (prompt, completion); None where the cache does not hold it.

        `tokenizer` is mlx-lm's, as `mlx_lm.load` gives it (`load_tokenizer` here, without the model), and tokenizes as in
        a job: chat template, EOS, and truncation to `max_length`, which decides what was scored. The other arguments are
        those of the job's `data:` block.
        """
        from prefd.daemon.worker.data.prompts import Settings
        from prefd.daemon.worker.data.tokens import Encoder

        settings = Settings(parse_date(date), chat_template, chat_template_kwargs or {})
        encoder = Encoder(tokenizer, max_length, settings)
        completions = [encoder.completion(prompt, completion) for prompt, completion in pairs]
        return self._store.find([self._fingerprint.key(each.ids, each.start) for each in completions])


class PolicyLogprobs:
    """PolicyLogprobs are the log-probabilities of an MLX model, of which any loss may be a function.

    They are a job's own, by the same scorer. What a client of `prefd serve` has with `forward_backward_custom` in two forward
    passes and with torch is one forward pass here. Making one tries ways of scoring on the model, which takes some seconds.
    """

    def __init__(self, model: nn.Module) -> None:
        from prefd.daemon.worker.scoring.choose import fastest_scorer

        self._scorer = fastest_scorer(model)

    def of_tokens(self, sequences: Sequence[tuple[Ids, int]]) -> list[Logprobs]:
        """Returns the log-probability in nats of each completion token (n_i − completion_start,) of each (ids, completion_start)."""
        import mlx.core as mx

        completions = self._make_completions(sequences)
        tokens = np.array(self._scorer.logprobs(completions).tokens.astype(mx.float32))
        return [row[: len(each.ids) - each.start] for row, each in zip(tokens, completions, strict=True)]

    def differentiate(self, loss: Loss, sequences: Sequence[tuple[Ids, int]]) -> tuple[mx.array, Any]:
        """Returns the loss, and its gradient in the model's trainable parameters, as an optimizer's `update` takes it.

        `loss` is called with the log-probabilities of all sequences, in their order. All are in memory at once.
        """
        completions = self._make_completions(sequences)

        def share(logprobs: Any) -> tuple[mx.array, None]:
            rows = [logprobs.tokens[row, : len(each.ids) - each.start] for row, each in enumerate(completions)]
            return loss(rows), None

        (value, _), gradient = self._scorer.value_and_grad(completions, share)
        return value, gradient

    def _make_completions(self, sequences: Sequence[tuple[Ids, int]]) -> list[Completion]:
        from prefd.daemon.worker.data.tokens import Completion

        rows = getattr(getattr(self._scorer.model, "args", None), "vocab_size", None)
        completions = []
        for index, (ids, start) in enumerate(sequences):
            array = np.asarray(ids, dtype=np.int64)
            if not 0 < start < len(array):
                raise ValueError(f"sequence {index}: its {len(array)} tokens have a completion from 1 on, got {start}")
            if array.min() < 0 or (rows is not None and array.max() >= rows):
                raise ValueError(
                    f"sequence {index}: token {array.max() if array.min() >= 0 else array.min()} is not among the model's {rows}"
                )
            completions.append(Completion(array.astype(np.uint32), start))
        return completions
