/** Says how far a running job is, how fast, and how long yet. */
import type { Job, Progress } from "../api/shapes";
import { formatDuration } from "../text/times";
import { formatShort } from "../text/numbers";

const PHASES: Readonly<Record<string, string>> = { precomputing: "precompute", training: "training", live: "live" };

export interface Pace {
  /** How much of the whole is done; null where nobody knows what the whole is. */
  share: number | null;
  done: number;
  total: number;
  unit: string;
  note: string;
  rate: string;
  left: string;
}

/** The pace of the phase that runs; null where it has not reported yet. `now`: Unix time. */
export function readPace(state: Job["state"], progress: Progress | null, now: number): Pace | null {
  if (!progress || progress.phase !== PHASES[state]) return null;
  const { done, total, unit, rate, eta_s, updated_at, note } = progress;
  const left = eta_s === null ? null : Math.max(0, eta_s - (updated_at ? Math.max(0, now - updated_at) : 0));
  return {
    share: total ? done / total : null,
    done,
    total,
    unit,
    note,
    rate: rate ? `${formatShort(rate)} ${unit}/s` : "",
    left: left === null ? "" : left < 1 ? "almost done" : `${formatDuration(left)} left`,
  };
}

/** A share in words, such as `12 %`. */
export function formatPercent(pace: Pace): string {
  return pace.share === null ? "" : `${Math.floor(pace.share * 100)} %`;
}

/** How long a job has worked or works, in seconds; null where it has not begun. */
export function timeTaken(job: Job, now: number): number | null {
  const spent = Object.values(job.phase_seconds).reduce((sum, seconds) => sum + seconds, 0);
  if (job.started_at === null) return spent || null;
  if (job.finished_at === null && PHASES[job.state]) return Math.max(now - job.started_at, spent);
  return spent || (job.finished_at === null ? null : job.finished_at - job.started_at);
}
