/** The one thing to know of a job: how far it is, how good it became, or why it failed, in words. */
import { EVAL, type JobSummary } from "../api/shapes";
import { METRICS } from "../charts/panels";
import { Bar } from "../parts/bar";
import { now } from "../stores/clock";
import { formatClock } from "../text/times";
import { formatShare, formatShort } from "../text/numbers";
import { readPace } from "./pace";

export function Result({ job }: { job: JobSummary }) {
  switch (job.state) {
    case "precomputing":
    case "training":
      return <RunningResult job={job} />;
    case "queued":
      return <span class="soft cut">{job.not_before && job.waiting.startsWith("not before") ? `not before ${formatClock(job.not_before)}` : job.waiting || job.reason}</span>;
    case "done":
      return <Outcome job={job} />;
    default:
      return <span class="soft cut">{job.reason.split("\n", 1)[0]}</span>;
  }
}

function RunningResult({ job }: { job: JobSummary }) {
  const pace = readPace(job.state, job.progress ?? null, now.value);
  if (!pace) return <span class="soft">starting</span>;
  const percent = `${Math.floor(pace.share * 100)} %`;
  return (
    <span class="result-bar number">
      <Bar share={pace.share} label={`${percent} of the phase`} />
      <span class="soft">{percent}</span>
      <span class="soft">{pace.left}</span>
    </span>
  );
}

function Outcome({ job }: { job: JobSummary }) {
  const held = job.eval?.[EVAL + METRICS.accuracy] ?? job.eval?.[METRICS.accuracy];
  const margin = job.eval?.[EVAL + METRICS.margin] ?? job.eval?.[METRICS.margin];
  if (held === null || held === undefined) return <span class="soft cut">{job.reason.split("\n", 1)[0]}</span>;
  return (
    <span class="number">
      <b title="accuracy on the held-out pairs">{formatShare(held)}</b>
      <span class="soft after">margin {formatShort(margin)}</span>
    </span>
  );
}
