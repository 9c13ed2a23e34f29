/** The jobs of the list, newest first: asked for when the list is opened and when a job changes, and moved by events in between. */
import { effect, signal } from "@preact/signals";
import { explain, get } from "../api/client";
import type { JobSummary, MetricsEvent, ProgressEvent } from "../api/shapes";
import { listen, openings } from "../api/stream";
import { locked } from "../api/token";
import { delay } from "./delay";

interface Page {
  jobs: JobSummary[];
  more: boolean;
}

const PAGE = 200;
const LIVE_POINTS = 400;

export const jobs = signal<readonly JobSummary[]>([]);
/** Whether there are older jobs than those of `jobs`. */
export const more = signal(false);
/** Whether the list has been answered at all: what is empty before is not yet known. */
export const known = signal(false);
export const trouble = signal("");

/** The newest rows of running jobs, for the curves of their cards. */
export const live = signal<ReadonlyMap<number, readonly MetricsEvent["values"][]>>(new Map());

let wanted = PAGE;

export async function refreshJobs(): Promise<void> {
  try {
    const page = await get<Page>("/v1/jobs", { with: "summary", limit: wanted });
    jobs.value = page.jobs.reverse();
    more.value = page.more;
    known.value = true;
    trouble.value = "";
  } catch (error) {
    trouble.value = explain(error);
  }
}

/** Asks for as many older jobs again. */
export function loadMore(): Promise<void> {
  wanted = Math.min(wanted + PAGE, 10_000);
  return refreshJobs();
}

/** Keeps the list as it is on the server for as long as a screen shows it. Returns what ends it. */
export function keepJobs(): () => void {
  const soon = delay(() => void refreshJobs(), 250);
  const redraw = delay(flush, 250);
  const progress = new Map<number, ProgressEvent>();
  const rows = new Map<number, MetricsEvent["values"][]>();

  function flush(): void {
    if (progress.size) jobs.value = jobs.value.map((job) => (progress.has(job.id) ? { ...job, progress: progress.get(job.id)! } : job));
    progress.clear();
    if (!rows.size) return;
    const merged = new Map(live.value);
    for (const [id, fresh] of rows) merged.set(id, [...(merged.get(id) ?? []), ...fresh].slice(-LIVE_POINTS));
    rows.clear();
    live.value = merged;
  }

  const ends = [
    listen("job", soon),
    listen("removed", soon),
    listen("reset", soon),
    listen("progress", (event) => {
      progress.set(event.job, event);
      redraw();
    }),
    listen("metrics", (event) => {
      rows.set(event.job, [...(rows.get(event.job) ?? []), event.values]);
      redraw();
    }),
    effect(() => {
      openings.value;
      if (!locked.value) void refreshJobs();
    }),
  ];
  return () => ends.forEach((end) => end());
}
