/** The jobs of the list, newest first: asked for when the list is opened and when a job changes, and moved by events in between. */
import { signal } from "@preact/signals";
import { explain, get } from "../api/client";
import type { Jobs, ListedJob, ProgressEvent } from "../api/shapes";
import { atEachOpening, listen } from "../api/stream";
import { delay } from "./delay";

const PAGE = 200;

export const jobs = signal<readonly ListedJob[]>([]);
/** Whether there are older jobs than those of `jobs`. */
export const more = signal(false);
/** Whether the list has been answered at all: what is empty before is not yet known. */
export const known = signal(false);
export const trouble = signal("");

let wanted = PAGE;

export async function refreshJobs(): Promise<void> {
  try {
    const page = await get<Jobs>("/v1/jobs", { with: "summary", limit: wanted });
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

  function flush(): void {
    jobs.value = jobs.value.map((job) => moveOn(job, progress.get(job.id)));
    progress.clear();
  }

  const ends = [
    listen("job", soon),
    listen("removed", soon),
    listen("reset", soon),
    listen("progress", (event) => {
      progress.set(event.job, event);
      redraw();
    }),
    atEachOpening(() => void refreshJobs()),
  ];
  return () => ends.forEach((end) => end());
}

function moveOn(job: ListedJob, progress: ProgressEvent | undefined): ListedJob {
  return progress && job.summary ? { ...job, summary: { ...job.summary, progress } } : job;
}
