/** The one thing to know of a job: how far it is, how good it became, or why it failed, in words. */
import { EVAL, type ListedJob } from "../api/shapes";
import { METRICS } from "../charts/panels";
import { Bar } from "../parts/bar";
import { now } from "../stores/clock";
import { formatPlan } from "../text/times";
import { formatCount, formatShare, formatShort } from "../text/numbers";
import { formatPercent, readPace } from "./pace";

export function Result({ job }: { job: ListedJob }) {
  switch (job.state) {
    case "precomputing":
    case "training":
    case "live":
      return <RunningResult job={job} />;
    case "queued":
      return <span class="soft cut">{describeWaiting(job)}</span>;
    case "done":
      return <Outcome job={job} />;
    default:
      return <span class="soft cut">{job.reason.split("\n", 1)[0]}</span>;
  }
}

function RunningResult({ job }: { job: ListedJob }) {
  const pace = readPace(job.state, job.summary?.progress ?? null, now.value);
  if (!pace) return <span class="soft">starting</span>;
  if (pace.share === null)
    return (
      <span class="soft cut number">
        {formatCount(pace.done)} {pace.unit}
        {pace.note && `, ${pace.note}`}
      </span>
    );
  const percent = formatPercent(pace);
  return (
    <span class="result-bar number">
      <Bar share={pace.share} label={`${percent} of the phase`} />
      <span class="soft">{percent}</span>
      <span class="soft">{pace.left}</span>
    </span>
  );
}

function Outcome({ job }: { job: ListedJob }) {
  const [held, margin] = [readHeldOut(job, METRICS.accuracy), readHeldOut(job, METRICS.margin)];
  if (held === null) return <span class="soft cut">{job.reason.split("\n", 1)[0]}</span>;
  return (
    <span class="number">
      <b title="accuracy on the held-out pairs">{formatShare(held)}</b>
      <span class="soft after">margin {formatShort(margin)}</span>
    </span>
  );
}

function readHeldOut(job: ListedJob, metric: string): number | null {
  const value = job.summary?.eval?.[EVAL + metric];
  return typeof value === "number" ? value : null;
}

/** Why a queued job does not run: what it waits for, or its place in the queue. */
function describeWaiting(job: ListedJob): string {
  if (job.not_before && job.waiting.startsWith("not before")) return `not before ${formatPlan(job.not_before)}`;
  if (job.waiting) return job.waiting;
  const place = job.summary?.place;
  return place ? (place === 1 ? "next in the queue" : `place ${place} in the queue`) : job.reason;
}
