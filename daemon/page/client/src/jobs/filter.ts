/** Which jobs of the list are shown, and in which order: what is in the address decides. */
import type { ListedJob, State } from "../api/shapes";
import { RUNNING } from "../parts/state";

export type Choice = "all" | "running" | Exclude<State, "precomputing" | "training" | "live">;

export const CHOICES: readonly Choice[] = ["all", "running", "queued", "paused", "done", "failed", "cancelled"];

export function fits(job: ListedJob, choice: Choice): boolean {
  if (choice === "all") return true;
  return choice === "running" ? RUNNING.includes(job.state) : job.state === choice;
}

/** Shows jobs that hold every word of `text` in their name, group, loss, model, number or reason. */
export function chooseJobs(jobs: readonly ListedJob[], choice: Choice, text: string): ListedJob[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = jobs.filter((job) => fits(job, choice) && words.every((word) => describe(job).includes(word)));
  return choice === "queued" ? shown.sort(compareTurns) : shown;
}

/** The queue's own order: the higher priority first, and among equals the one that was handed in first. */
export function compareTurns(one: ListedJob, other: ListedJob): number {
  return other.priority - one.priority || one.id - other.id;
}

function describe(job: ListedJob): string {
  const parts = [`#${job.id}`, job.name, job.group, job.description, job.summary?.task?.loss, job.summary?.task?.model, job.reason, job.state];
  return parts.join(" ").toLowerCase();
}

export function countJobs(jobs: readonly ListedJob[], choice: Choice): number {
  return jobs.reduce((count, job) => count + (fits(job, choice) ? 1 : 0), 0);
}
