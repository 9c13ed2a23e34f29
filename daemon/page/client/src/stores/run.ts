/** One job and all there is to know of it, kept as it is on the server for as long as a screen shows it. */
import { effect, signal, type ReadonlySignal } from "@preact/signals";
import { ApiError, explain, get } from "../api/client";
import type { JobDocument } from "../api/shapes";
import { listen, openings } from "../api/stream";
import { locked } from "../api/token";
import { delay } from "./delay";

export interface FollowedRun {
  readonly document: ReadonlySignal<JobDocument | null>;
  readonly trouble: ReadonlySignal<string>;
  /** Whether there is no such job, or no longer. */
  readonly missing: ReadonlySignal<boolean>;
  refresh: () => void;
  end: () => void;
}

export function followRun(id: number): FollowedRun {
  const document = signal<JobDocument | null>(null);
  const trouble = signal("");
  const missing = signal(false);

  async function ask(): Promise<void> {
    try {
      document.value = await get<JobDocument>(`/v1/jobs/${id}`);
      trouble.value = "";
      missing.value = false;
    } catch (error) {
      missing.value = error instanceof ApiError && error.status === 404;
      trouble.value = explain(error);
    }
  }

  const refresh = delay(() => void ask(), 150);
  const mine = (event: { job: number }) => event.job === id && refresh();
  const ends = [
    listen("job", mine),
    listen("removed", mine),
    listen("reset", refresh),
    listen("progress", (event) => {
      const known = document.peek();
      if (event.job === id && known) document.value = { ...known, progress: event };
    }),
    effect(() => {
      openings.value;
      if (!locked.value) void ask();
    }),
  ];
  return { document, trouble, missing, refresh, end: () => ends.forEach((end) => end()) };
}
