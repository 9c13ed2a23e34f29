/** One job and all there is to know of it, kept as it is on the server for as long as a screen shows it. */
import { signal, type ReadonlySignal } from "@preact/signals";
import { ApiError, explain, get } from "../api/client";
import { isEvaluation, type JobDocument, type Jobs } from "../api/shapes";
import { atEachOpening, listen } from "../api/stream";
import { delay } from "./delay";

const EVERY = 10_000;

export type Row = Readonly<Record<string, unknown>>;

export interface Newest {
  train: Row | null;
  held: Row | null;
}

export interface FollowedRun {
  readonly document: ReadonlySignal<JobDocument | null>;
  /** The newest line of training, and the newest evaluation on the held-out pairs. */
  readonly newest: ReadonlySignal<Newest>;
  readonly trouble: ReadonlySignal<string>;
  /** Whether there is no such job, or no longer. */
  readonly missing: ReadonlySignal<boolean>;
  refresh: () => void;
  end: () => void;
}

export function followRun(id: number): FollowedRun {
  const document = signal<JobDocument | null>(null);
  const newest = signal<Newest>({ train: null, held: null });
  const trouble = signal("");
  const missing = signal(false);

  async function ask(): Promise<void> {
    try {
      const [known, list] = await Promise.all([get<JobDocument>(`/v1/jobs/${id}`), get<Jobs>("/v1/jobs", { ids: id, with: "summary" })]);
      document.value = known;
      const summary = list.jobs[0]?.summary;
      newest.value = { train: summary?.last ?? null, held: summary?.eval ?? null };
      trouble.value = "";
      missing.value = false;
    } catch (error) {
      missing.value = error instanceof ApiError && error.status === 404;
      trouble.value = explain(error);
    }
  }

  const refresh = delay(() => void ask(), 150);
  const timer = setInterval(() => {
    const known = document.peek();
    if (known && mayReport(known) && !globalThis.document.hidden) refresh(); // its reports to other tools, of which no event tells
  }, EVERY);
  const fresh: Newest = { train: null, held: null };
  const redraw = delay(() => {
    newest.value = { train: fresh.train ?? newest.value.train, held: fresh.held ?? newest.value.held };
  }, 250);
  const mine = (event: { job: number }) => event.job === id && refresh();
  const ends = [
    () => clearInterval(timer),
    listen("job", mine),
    listen("removed", mine),
    listen("reset", refresh),
    listen("metrics", ({ job, values }) => {
      if (job !== id) return;
      fresh[isEvaluation(values) ? "held" : "train"] = values;
      redraw();
    }),
    listen("progress", (event) => {
      const known = document.peek();
      if (event.job === id && known) document.value = { ...known, progress: event };
    }),
    atEachOpening(() => void ask()),
  ];
  return { document, newest, trouble, missing, refresh, end: () => ends.forEach((end) => end()) };
}

/** Whether a report may move on without an event that tells of it: none does of a job that is reported nowhere. */
function mayReport({ job, spec, reports }: JobDocument): boolean {
  return (job.state === "training" && Boolean(spec?.["report_to"])) || reports.some((report) => report.state === "open" && !report.error);
}
