/** Which jobs of the list are shown, and in which order: what is in the address decides. */
import type { JobSummary, State } from "../api/shapes";
import { RUNNING } from "../parts/state";
import { formatParams } from "../text/losses";

export type Choice = "all" | "running" | Exclude<State, "precomputing" | "training">;

export const CHOICES: readonly Choice[] = ["all", "running", "queued", "paused", "done", "failed", "cancelled"];

export function fits(job: JobSummary, choice: Choice): boolean {
  if (choice === "all") return true;
  return choice === "running" ? RUNNING.includes(job.state) : job.state === choice;
}

/** Shows jobs that hold every word of `text` in their name, group, loss, model, number or reason. */
export function chooseJobs(jobs: readonly JobSummary[], choice: Choice, text: string): JobSummary[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = jobs.filter((job) => fits(job, choice) && words.every((word) => describe(job).includes(word)));
  return choice === "queued" ? shown.sort(compareTurns) : shown;
}

/** The queue's own order: the higher priority first, and among equals the one that was handed in first. */
export function compareTurns(one: JobSummary, other: JobSummary): number {
  return other.priority - one.priority || one.id - other.id;
}

function describe(job: JobSummary): string {
  const parts = [`#${job.id}`, job.name, job.group, job.description, job.loss, formatParams(job.params ?? {}), job.model, job.reason, job.state];
  return parts.join(" ").toLowerCase();
}

export function countJobs(jobs: readonly JobSummary[], choice: Choice): number {
  return jobs.reduce((count, job) => count + (fits(job, choice) ? 1 : 0), 0);
}
