"""The reference cache for notebooks: log-probabilities of texts or token ids, as numpy.

cache = ReferenceCache.open(Path("~/.local/share/prefd/cache").expanduser())
for info in cache.references():
    print(info.fingerprint, info.provenance["model"], info.entries)
reference = ReferenceLogprobs(cache, "13dfa6")
reference.of_texts([("Name a prime.", "Seven.")], tokenizer)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.errors import PrefdError
from prefd.daemon.specs.chat_template import DEFAULT_DATE, parse_date

if TYPE_CHECKING:
    from prefd.plugins.types import Text

Logprobs = npt.NDArray[np.float32]


def load_tokenizer(model: str | Path) -> Any:
    """The tokenizer of a folder or hub id as jobs have it, with the EOS tokens that the model's config names."""
    from prefd.daemon.worker.models import loading
    from prefd.daemon.worker.models.source import ModelSource

    return loading.tokenizer(ModelSource(str(model)))


class UnknownReference(PrefdError, LookupError):
    """No reference, or more than one, has a fingerprint that starts like that; the message lists those there are."""


class ReferenceLogprobs:
    """The entries of one reference of `cache`, named by the beginning of its fingerprint. Loads no model.

    Raises `UnknownReference`.
    """

    def __init__(self, cache: ReferenceCache, fingerprint: str) -> None:
        found = [info for info in cache.references() if info.fingerprint.startswith(fingerprint)]
        if len(found) != 1:
            there = ", ".join(info.fingerprint[:12] for info in cache.references()) or "none"
            which = "several references start" if found else "no reference starts"
            raise UnknownReference(f"{which} with {fingerprint!r}; in {cache.path} there are: {there}")
        self.info = found[0]
        self._fingerprint = ReferenceFingerprint(self.info.identity)
        self._store = cache.reference(self._fingerprint)

    def every(self) -> list[Logprobs]:
        """(n_i,) The log-probabilities of every completion that was scored, in the order of their keys."""
        keys = {row.tobytes() for segment in self._store.segments for row in segment.keys}
        return [value for value in self._store.find(sorted(keys)) if value is not None]

    def of_tokens(self, ids: Sequence[int] | npt.NDArray[Any], completion_start: int) -> Logprobs:
        """(n − completion_start,) log-probability in nats of each completion token, EOS included.

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
        """For each (prompt, completion), its log-probabilities; None where the cache does not hold it.

        `tokenizer` is mlx-lm's, as `mlx_lm.load` gives it (`load_tokenizer` here, without the model), and tokenizes as in
        a job: chat template, EOS, and truncation to `max_length`, which decides what was scored. The other arguments are
        those of the job's `data:` block.
        """
        from prefd.daemon.worker.data.prompts import Settings
        from prefd.daemon.worker.data.tokens import Encoder

        settings = Settings(parse_date(date), chat_template, chat_template_kwargs or {})
        encoder = Encoder(tokenizer, max_length, settings)
        completions = [encoder.completion(prompt, completion) for prompt, completion in pairs]
        return self._store.find([self._fingerprint.key(one.ids, one.start) for one in completions])
