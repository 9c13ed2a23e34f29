/** A job's loss with its parameters: sigmoid β 0.1 ls 0.1. */
import type { JobSummary } from "../api/shapes";
import { formatParams } from "../text/losses";

export function Loss({ job }: { job: Pick<JobSummary, "loss" | "params"> }) {
  return (
    <span class="loss">
      {job.loss} <span class="soft">{formatParams(job.params ?? {})}</span>
    </span>
  );
}
