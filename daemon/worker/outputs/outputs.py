"""Writes what a trained job gives besides its adapter, and refuses before training what cannot be written."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
from mlx import nn

from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import FusedCheck
from prefd.daemon.runs.run_folder import OUTPUTS, Progress
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob, SpecifiedJob
from prefd.daemon.worker.models.quantized_modules import QUANTIZED
from prefd.daemon.worker.outputs import fuse, fuse_check, peft
from prefd.daemon.worker.outputs.published import report_write_errors

log = logging.getLogger(__name__)


def check(job: SpecifiedJob, model: nn.Module) -> None:
    """Check that the spec's `output:` can be written for `model`, the policy as it will be trained, or raise `JobError`."""
    output = job.spec.output
    if output.dequantize:
        quantized = [(name, module) for name, module in model.named_modules() if "scales" in module]
        if not quantized:
            raise JobError(f"output.dequantize: no weight of {job.policy.model} is quantized; take it away")
        if unknown_names := [name for name, module in quantized if type(module) not in QUANTIZED]:
            raise JobError(
                f"output.dequantize: it is not known how to dequantize {unknown_names[0]} of {job.policy.model}; "
                "without it the fused model stays quantized"
            )
    if output.peft:
        peft.check(job.policy, model)


@dataclass
class Outputs:
    """Outputs holds the folders that were written, by name, and what the job reports of them."""

    folders: dict[str, Path] = field(default_factory=dict)
    fused_check: FusedCheck | None = None
    warnings: list[str] = field(default_factory=list)
    remark: str = ""
    """What the job's reason adds about a fused model that lost something."""

    def add_to(self, outcome: TrainingOutcome) -> TrainingOutcome:
        """Return `outcome` with the folders, the check and the warnings in its summary."""
        numbers: dict[str, object] = {name: str(folder) for name, folder in self.folders.items()}
        numbers |= {} if self.fused_check is None else {"fused_check": self.fused_check}
        numbers["warnings"] = [*outcome.summary.warnings, *self.warnings]
        summary = outcome.summary.model_copy(update=numbers)
        return TrainingOutcome(ok=outcome.ok, reason=outcome.reason + self.remark, summary=summary)


def write(job: RunningJob) -> Outputs:
    """Write what the spec's `output:` asks for, from the job's base and its adapter on disk.

    Raises `JobError` where the disk refuses, and where a fused model is not what base and adapter are.
    """
    output, run = job.spec.output, job.run
    outputs = Outputs()
    mx.clear_cache()  # the trained model's memory
    if output.fuse or output.peft:  # the daemon tells by it that memory which runs out now is not the batches'
        run.write_progress(Progress("training", 0, output.fuse + output.peft, OUTPUTS))
    if output.fuse:
        log.info("fusing the adapter into the model")
        outputs = write_fused_model(job, run.fused, output.dequantize)
    if output.peft:
        with report_write_errors("the PEFT adapter", run.root):
            peft.write_peft(job.policy, run.adapter, run.peft)
        outputs.folders["peft"] = run.peft
    return outputs


def require_trained(job: RunningJob) -> None:
    """Raise `JobError` for a job that has trained nothing to its end, or whose adapter is gone."""
    number, outcome = job.run.root.name, job.run.outcome("training")
    if outcome is None or not outcome.ok:
        raise JobError(f"job {number} has trained no policy to the end, so there is no model of its own to write")
    if not job.run.adapter.is_dir():
        raise JobError(f"job {number} has no adapter any more: {job.run.adapter} was removed")


def require_folder(out: str) -> None:
    """Raise `JobError` where the file `out` is to be in a folder that is not there."""
    if not Path(out).parent.is_dir():
        raise JobError(f"--out {out}: there is no folder {Path(out).parent}; make it, or name another")


def write_fused_model(job: RunningJob, folder: Path, dequantize: bool) -> Outputs:
    """Write the job's adapter, as it is on disk, merged into its base to `folder`, and compare the two.

    Raises `JobError` where the disk refuses, and where the fused model is not what base and adapter are.
    """
    source = replace(job.policy, adapter=job.run.adapter)
    outputs = Outputs({"fused": folder})

    def check(folder: Path) -> None:
        try:
            comparison = fuse_check.compare(source, folder, fuse_check.select_sequences(job.examples))
        except fuse_check.NotCompared as reason:
            outputs.warnings.append(str(reason))
            outputs.remark = "; the fused model was not compared with base and adapter"
            return
        log.info("the fused model: %s", comparison.describe())
        outputs.fused_check = comparison.summarize()
        outputs.warnings.extend(filter(None, [comparison.warning()]))
        outputs.remark = f"; fused, {comparison.part} of what was trained is lost" if comparison.tells else ""

    with report_write_errors("the fused model", job.run.root):
        fuse.write_fused(source, folder, dequantize, check)
    for warning in outputs.warnings:
        log.warning("%s", warning)
    return outputs
