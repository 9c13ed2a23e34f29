"""Opens a reference to score with: whole where memory holds it, else a window of its layers at a time, to the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.pass_length import bound_tokens
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.models.tiers import Tier, find_tier
from prefd.daemon.worker.ranks.pipeline import Pipeline
from prefd.daemon.worker.reference.scoring_batches import Batch, cut_batches, shrink_pieces
from prefd.daemon.worker.reference.window_choice import Windows, choose_windows
from prefd.daemon.worker.scoring.choose import NoWindows, fastest_scorer, windowed_scorer
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.scoring.windows import WindowedScorer
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

BATCH_TOKENS: dict[Tier, int] = {"cpu": 2048, "metal": 2048, "large metal": 4096, "cuda": 16384}

Scores = dict[bytes, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class ReferencePass:
    """ReferencePass scores batches with a reference that is open."""

    scorer: Scorer | WindowedScorer | Pipeline
    batch_tokens: int
    """Tokens of a batch, at most."""
    windows: Windows | None = None
    """Where the reference is not in memory whole."""
    warning: str = ""
    """Why it is in memory whole, where the spec wants windows."""

    @property
    def chunk_tokens(self) -> int:
        """Return how many tokens are best scored by one call of `score`: 0 where each batch may as well have its own."""
        return 0 if self.windows is None else self.windows.chunk_tokens

    @property
    def runs(self) -> int:
        """Return in how many runs a batch is scored: one through each window."""
        return self.scorer.window_count if isinstance(self.scorer, WindowedScorer) else 1

    @property
    def layers_per_run(self) -> int:
        """Return how many layers a batch goes through in one run."""
        if isinstance(self.scorer, Pipeline):
            return self.scorer.largest_stage
        network: Any = self.scorer.scorer.model if isinstance(self.scorer, WindowedScorer) else self.scorer.model
        return len(network.layers) // self.runs

    def score(
        self,
        batches: Sequence[Batch],
        on_run: Callable[[Batch], None] = lambda _: None,
        on_window: Callable[[Batch], None] = lambda _: None,
    ) -> Iterator[Scores]:
        """Score batch after batch: key → (length,) float32 log-probabilities.

        `on_run` is called with a batch after each of its runs; and `on_window` then, where it has others before it, or again and again
        while other ranks have it.
        """

        def note_window(index: int) -> None:
            on_run(batches[index])
            on_window(batches[index])

        if isinstance(self.scorer, Pipeline):
            computations = self._list_awaited(self.scorer, batches, on_window)
        else:
            computations = self._list_computations(self.scorer, batches, note_window)
        for batch, compute in computations:
            scores = collect_scores(compute(), batch)
            on_run(batch)
            yield scores

    def score_completions(self, batches: Sequence[Sequence[Completion]]) -> Iterator[Logprobs]:
        """Score completions, batch after batch: (B, T) tokens and mask, not computed yet."""
        if isinstance(self.scorer, WindowedScorer | Pipeline):
            yield from self.scorer.logprobs(batches, lambda _: None)
        else:
            yield from map(self.scorer.logprobs, batches)

    def _list_computations(
        self, scorer: Scorer | WindowedScorer, batches: Sequence[Batch], on_window: Callable[[int], None]
    ) -> Iterator[tuple[Batch, Callable[[], Logprobs]]]:
        completions = [[completion for _, completion in batch] for batch in batches]
        if isinstance(scorer, WindowedScorer):
            scores = scorer.logprobs(completions, on_window)
            yield from ((batch, partial(next, scores)) for batch in batches)
        else:
            yield from zip(batches, (partial(scorer.logprobs, each) for each in completions))

    def _list_awaited(
        self, pipeline: Pipeline, batches: Sequence[Batch], on_wait: Callable[[Batch], None]
    ) -> Iterator[tuple[Batch, Callable[[], Logprobs]]]:
        completions = [[completion for _, completion in batch] for batch in batches]
        scores = pipeline.logprobs(completions, lambda index: on_wait(batches[index]))
        yield from ((batch, partial(next, scores)) for batch in batches)


def open_reference(job: SpecifiedJob, halvings: int = 0) -> ReferencePass:
    """Open the reference of `job`. `halvings`: how often the size of batches is to be halved.

    Raises `JobError` where it cannot be loaded, or does not fit into memory, not even one layer at a time.
    """
    source = job.reference
    options = shrink_pieces(Options.from_spec(job.spec), job.spec.data.max_length, halvings)
    model = loading.load_lazily(source).freeze()
    windows = choose_windows(model, source.model, read_window_setting(job.spec), BATCH_TOKENS[find_tier()] >> halvings)
    warning = ""
    if windows is not None:
        del model
        try:
            return _open_in_windows(source, options, windows)
        except NoWindows as error:
            warning = f"{source.model} is not scored in windows, but whole: {error}"
            if windows.sizes.total > memory.machine()[0]:
                raise JobError(
                    f"{memory.describe_size(windows.sizes.total, source.model)}, and it cannot be scored in windows of its layers: "
                    f"{error}. Name a smaller reference, or score on a larger machine and bring the cache here (`prefd cache export`, "
                    "or cache_url)"
                ) from error
        model = loading.load_lazily(source).freeze()
    loading.read_weights(model, source.model)
    batch_tokens = bound_tokens(model, BATCH_TOKENS[find_tier()]) >> halvings
    return ReferencePass(fastest_scorer(model, options), max(1, batch_tokens), warning=warning)


def read_window_setting(spec: JobSpec) -> int | None:
    """Return how many layers the spec wants in memory at a time; None where it leaves that open."""
    return None if spec.reference is None else spec.reference.window


def _open_in_windows(source: ModelSource, options: Options, windows: Windows) -> ReferencePass:
    """Open the model of `source` with its layers on the disk. Raises `NoWindows` where it cannot be run so."""
    scorer = windowed_scorer(lambda: loading.load_lazily(source).freeze(), windows.size, options)
    batch_tokens = windows.batch_tokens
    if loading.device() != "cpu":
        batch_tokens = min(batch_tokens, bound_tokens(scorer.make_sample(), BATCH_TOKENS[find_tier()]))
    return ReferencePass(scorer, max(1, batch_tokens), windows)


def batch_by_key(missing: Mapping[bytes, Completion], max_tokens: int | None = None) -> list[Batch]:
    """Cut `missing` into batches of at most `max_tokens` tokens, answers to one prompt together; None: the device's usual."""
    return cut_batches(missing, max_tokens or BATCH_TOKENS[find_tier()])


def cut_chunks(batches: Sequence[Batch], chunk_tokens: int) -> Iterator[list[Batch]]:
    """Cut `batches` into chunks of at most `chunk_tokens` tokens, or of one batch."""
    chunk: list[Batch] = []
    for batch in batches:
        if chunk and count_tokens([*chunk, batch]) > chunk_tokens:
            yield chunk
            chunk = []
        chunk.append(batch)
    if chunk:
        yield chunk


def count_tokens(batches: Sequence[Batch]) -> int:
    """Count the tokens of completions and prompts in `batches`."""
    return sum(len(completion.ids) for batch in batches for _, completion in batch)


def score(scorer: Scorer, batch: Batch) -> Scores:
    """Score one batch: key → (length,) float32 log-probabilities."""
    return collect_scores(scorer.logprobs([completion for _, completion in batch]), batch)


def collect_scores(logprobs: Logprobs, batch: Batch) -> Scores:
    """Compute the log-probabilities of a batch: key → (length,) float32."""
    mx.eval(logprobs)
    values = np.array(logprobs.tokens)
    return {
        key: values[row, : len(completion.ids) - completion.start].copy() for row, (key, completion) in enumerate(batch)
    }
