"""The summaries hold the numbers of a phase of a job, which its worker writes to `runs/<id>/<phase>.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefd.daemon.runs.audit import Audit
from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.pipeline_summary import PipelineSummary
from prefd.daemon.runs.window_summary import WindowSummary
from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.text.times import format_duration

Metrics = Mapping[str, int | float | None]
"""A row of metrics.jsonl: metric → number, None where it was not finite."""


class PrecomputeSummary(Audit):
    """PrecomputeSummary says how many completions the reference pass found in the cache, and how many it scored."""

    reference: str = ""
    """The reference's model, as the spec names it."""
    fingerprint: str | None = None
    """The reference's name in the cache; None where the phase failed before it was known."""
    scored: int = 0
    scored_elsewhere: int = 0
    """How many of the missing ones another home or job, with the same cache, scored meanwhile."""
    windows: WindowSummary | None = None
    """How the reference ran, where its layers were not in memory all at once."""
    pipeline: PipelineSummary | None = None
    """How it ran, where its layers were spread over ranks."""
    seconds: float = 0.0
    scoring_seconds: float = 0.0
    """Of these, the seconds of forward passes and commits."""
    data: DataSummary | None = None
    xray: XRaySummary | None = None
    """Which pairs to doubt; None where the rows are no pairs."""
    damage: Sequence[str] = ()
    """The damage in the cache that was scored again, a line each."""
    machine: str = ""
    """What scored, in words; empty where nothing was to be scored."""
    line: str = ""
    """The phase in one line."""
    warnings: Sequence[str] = ()


class LiveSummary(DocumentModel):
    """LiveSummary says what a client had a live session do."""

    steps: int | None = None
    """Optimizer steps; None where the phase failed."""
    requests: int = 0
    seconds: float = 0.0
    ref_hits: int = 0
    """Completions whose reference log-probabilities were in the cache."""
    ref_scored: int = 0
    """Completions that the reference scored."""
    peak_memory_gb: float | None = None
    """The peak of memory that MLX reports, in 10^9 bytes."""
    machine: str = ""
    """What it ran on, in words."""
    data: DataSummary | None = None
    """None: a client brings tokens, and no rows are read."""
    xray: XRaySummary | None = None
    """None for the same reason."""
    line: str = ""
    """The phase in one line."""
    warnings: Sequence[str] = ()


class BestEvaluation(DocumentModel):
    """BestEvaluation holds the evaluation that was best by the metric that the spec watches, and its checkpoint."""

    metric: str
    value: float
    step: int
    checkpoint: str


class FusedCheck(DocumentModel):
    """FusedCheck says how the logits of a fused model compare with those of base and adapter."""

    lost: float = 0.0
    """How far the fused model's logits are from those of base and adapter."""
    effect: float = 0.0
    """How far the logits of base and adapter together are from those of the base."""
    share: float = 0.0
    """`lost` as a share of `effect`."""
    scatter: float = 0.0
    """The scatter of base and adapter's logits at one position."""
    sequences: int = 0
    positions: int = 0
    line: str = ""
    """The check in words."""


class AdapterOffSummary(DocumentModel):
    """AdapterOffSummary says what a policy with its adapter off scored as its own reference, beside training."""

    fingerprint: str | None = None
    """The reference's name in the cache."""
    completions: int = 0
    """Distinct completions that training met since its worker began."""
    cached: int = 0
    """Those that were in the cache when they were first met."""
    scored: int = 0
    """Completions that were scored; each once, where they are stored."""
    stored: bool = True
    """Whether what was scored is in the cache."""
    seconds: float = 0.0
    """Of scoring and committing, of the seconds of training."""

    @property
    def line(self) -> str:
        """Returns the summary in one line."""
        place = "kept in the cache" if self.stored else "not kept"
        return f"the policy with its adapter off: {self.scored} completions scored beside training, {place}; {self.cached} were cached"


class SamplesSummary(DocumentModel):
    """SamplesSummary says what the policy answered while it trained (eval_samples), and what that took."""

    path: str = ""
    """The file with the answers, samples.jsonl."""
    samplings: int = 0
    """After how many steps answers were drawn, the start among them."""
    answers: int = 0
    cut: int = 0
    """Answers that were cut because the time of their sampling was over."""
    faults: int = 0
    """Answers that could not be drawn."""
    seconds: float = 0.0
    """That drawing took, of the seconds of training."""

    @property
    def line(self) -> str:
        """Returns the summary in one line."""
        parts = [f"{self.answers} answers after {self.samplings} steps took {format_duration(self.seconds)}"]
        parts += [f"{self.cut} cut for time (eval_samples.seconds)"] if self.cut else []
        parts += [f"{self.faults} could not be drawn"] if self.faults else []
        return "; ".join([*parts, self.path])


class TrainingSummary(DocumentModel):
    """TrainingSummary says how training went, and which folders it wrote."""

    steps: int | None = None
    """None where the phase failed."""
    pairs: int = 0
    seconds: float = 0.0
    first: Metrics | None = None
    """The metrics of the first step."""
    last: Metrics | None = None
    """The metrics of the last step."""
    eval: Metrics | None = None
    """The last evaluation; None where no pairs are held out."""
    best: BestEvaluation | None = None
    warnings: Sequence[str] = ()
    adapter: str | None = None
    """The adapter's folder."""
    adapter_step: int | None = None
    """The step that the adapter is of: the last, or the best."""
    peak_memory_gb: float | None = None
    """The peak of memory that MLX reports, in 10^9 bytes."""
    machine: str = ""
    """What it ran on, in words: the device, its memory, the system, and how much was swapped out when it ended."""
    log_ratio_noise: float = 0.0
    """Nats for one token that are rounding in a log-ratio; it grows with the root of the number of tokens."""
    data: DataSummary | None = None
    xray: XRaySummary | None = None
    """Which pairs to doubt, where no reference pass has said it before."""
    pairs_sha256: str = ""
    """A digest of the tokens of all pairs, by which it is known later whether they are still the same; empty where an earlier version ran."""
    weights_sha256: str = ""
    """The digest of the weights that the policy started from."""
    adapter_off: AdapterOffSummary | None = None
    """What the policy scored as its own reference, where the spec has `reference.live`."""
    samples: SamplesSummary | None = None
    """What the policy answered while it trained, where the spec has `eval_samples`."""
    fused: str | None = None
    """The fused model's folder, where the spec asks for one."""
    peft: str | None = None
    """The PEFT adapter's folder, where the spec asks for one."""
    fused_check: FusedCheck | None = None
    line: str = ""
    """The phase in one line, where the outcome's reason does not say it."""
