/** What can be asked of jobs: which of it fits their states, and asking. */
import { post } from "../api/client";
import type { Archived, Job, State } from "../api/shapes";
import type { IconName } from "../parts/icons";
import { confirm } from "../parts/confirm";
import { ENDED, RUNNING } from "../parts/state";
import { tell, tellError } from "../parts/toast";
import { refreshJobs } from "../stores/jobs";
import { formatSize, pluralize } from "../text/numbers";

export interface Action {
  name: string;
  text: string;
  icon?: IconName;
  states: readonly State[];
  /** What is asked before it is done, and how the button is called that does it; without them it is done at once. */
  question?: (count: number) => string;
  yes?: string;
  /** What is told when it is done. */
  done: string;
  danger?: boolean;
}

const WAITING: readonly State[] = ["queued", "paused"];

export const ACTIONS: readonly Action[] = [
  { name: "pause", text: "Pause", icon: "pause", states: ["queued", ...RUNNING], done: "pausing" },
  { name: "resume", text: "Resume", icon: "play", states: ["paused"], done: "queued again" },
  { name: "retry", text: "Retry", icon: "retry", states: ["failed", "cancelled"], done: "queued again, from the last checkpoint" },
  {
    name: "retry-fresh",
    text: "Run anew",
    icon: "retry",
    states: ENDED,
    question: (count) => `${count === 1 ? "It begins" : "They begin"} from nothing. What the earlier attempt made is set aside.`,
    yes: "Run anew",
    done: "queued again, from nothing",
  },
  {
    name: "cancel",
    text: "Cancel",
    icon: "close",
    states: [...WAITING, ...RUNNING],
    question: (count) => `${count === 1 ? "The job ends" : "The jobs end"} at the next step, with a checkpoint: Retry goes on from there.`,
    yes: "Cancel it",
    done: "cancelled",
    danger: true,
  },
  {
    name: "remove",
    text: "Delete",
    states: ENDED,
    question: (count) => `${count === 1 ? "Its row, its folder with the adapter" : "Their rows, their folders with the adapters"} and the accepted spec are deleted. What the cache holds stays.`,
    yes: "Delete",
    done: "deleted",
    danger: true,
  },
];

/** Whether it is a model that a client of `prefd serve` held: what it asked is gone, so nothing can be run anew. */
function isClients(job: Job): boolean {
  return job.source.startsWith("live:");
}

export function fitsAll(action: Action, jobs: readonly Job[]): boolean {
  return jobs.length > 0 && jobs.every((job) => action.states.includes(job.state) && !(action.name === "retry-fresh" && isClients(job)));
}

/** Does an action, after asking where it asks. Returns whether it was done. */
export async function act(action: Action, jobs: readonly Job[]): Promise<boolean> {
  const names = jobs.length === 1 ? `${jobs[0]!.name} (#${jobs[0]!.id})` : pluralize(jobs.length, "job");
  if (action.question && !(await confirm(`${action.text} ${names}?`, action.question(jobs.length), action.yes ?? action.text, action.danger))) return false;
  return request(`/v1/jobs/${action.name}`, { jobs: jobs.map((job) => job.id) }, `${names}: ${action.done}`);
}

/** Makes jobs that wait the next ones, by a priority above all others that wait. */
export function putFirst(jobs: readonly Job[], all: readonly Job[]): Promise<boolean> {
  const highest = Math.max(0, ...all.filter((job) => job.state === "queued").map((job) => job.priority));
  return setPriority(jobs, highest + 1);
}

export function setPriority(jobs: readonly Job[], priority: number): Promise<boolean> {
  const body = { jobs: jobs.map((job) => job.id), settings: { priority } };
  return request("/v1/jobs/edit", body, `${pluralize(jobs.length, "job")}: priority ${priority}`);
}

const PARTS = { checkpoints: "checkpoints", fused: "fused models" } as const;

/** Deletes a part of ended jobs' folders, after asking. */
export async function discard(part: keyof typeof PARTS, jobs: readonly Job[]): Promise<boolean> {
  const text = part === "checkpoints" ? "The adapters stay. A retry begins from nothing." : "The adapters stay, from which they can be made again.";
  if (!(await confirm(`Delete the ${PARTS[part]} of ${pluralize(jobs.length, "job")}?`, text, "Delete"))) return false;
  return request("/v1/discard", { part, jobs: jobs.map((job) => job.id) }, `${PARTS[part]} deleted`);
}

/** Copies a job into one folder that can be read by itself; the job stays. */
export async function archive(job: Job, fused: boolean): Promise<void> {
  tell(`${job.name} is being copied`);
  try {
    const made = await post<Archived>(`/v1/jobs/${job.id}/archive`, {}, { fused });
    tell(`${job.name} is copied to ${made.archive}, ${formatSize(made.bytes)}`);
  } catch (error) {
    tellError(error);
  }
}

export function actOnQueue(name: "pause" | "resume"): Promise<boolean> {
  return request(`/v1/queue/${name}`, {}, name === "pause" ? "The queue is paused: what runs goes on" : "The queue goes on");
}

async function request(path: string, body: unknown, message: string): Promise<boolean> {
  try {
    await post(path, body);
    tell(message);
    void refreshJobs();
    return true;
  } catch (error) {
    tellError(error);
    return false;
  }
}
