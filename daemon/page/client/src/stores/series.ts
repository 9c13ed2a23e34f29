/** The curves of one job: asked for in columns, and carried on by events, so that a report costs one point and not one request. */
import { signal, type ReadonlySignal } from "@preact/signals";
import { explain, get } from "../api/client";
import { isEvaluation, type MetricsEvent, type Series } from "../api/shapes";
import { spanSeries, type View } from "../charts/zoom";
import { atEachOpening, listen } from "../api/stream";
import { addRows } from "./curve_rows";
import { delay } from "./delay";

export interface Range {
  from: number | null;
  to: number | null;
}

export interface Following {
  readonly series: ReadonlySignal<Series | null>;
  readonly trouble: ReadonlySignal<string>;
  /** The first step and the last of the whole run, as far as is known. */
  readonly whole: ReadonlySignal<View | null>;
  /** Asks for a part of the steps in full detail, or for all of them. */
  zoom(range: Range): void;
  end(): void;
}

/** With so many points more than were asked for, the server is asked for fewer again. */
const MOST_APPENDED = 400;

/** Follows a job's curves of about `points` points. */
export function followSeries(job: number, points: number, range: Range = { from: null, to: null }): Following {
  const series = signal<Series | null>(null);
  const trouble = signal("");
  const whole = signal<View | null>(null);
  let asked = range;
  let appended = 0;
  let waiting: MetricsEvent["values"][] = [];
  let abort = new AbortController();

  async function ask(): Promise<void> {
    abort.abort();
    const mine = (abort = new AbortController());
    waiting = [];
    try {
      const answer = await get<Series>(`/v1/jobs/${job}/series`, { points, from: asked.from, to: asked.to }, mine.signal);
      appended = 0;
      series.value = answer;
      noteWhole(answer);
      trouble.value = "";
      append();
    } catch (error) {
      if (!mine.signal.aborted) trouble.value = explain(error);
    }
  }

  function append(): void {
    const before = series.value;
    const rows = waiting;
    if (!before || !rows.length) return;
    waiting = [];
    const last = before.step.at(-1) ?? -1;
    const fresh = rows.filter((row) => isEvaluation(row) || stepOf(row) > last);
    const restarted = rows.some((row) => !isEvaluation(row) && stepOf(row) < last - before.bucket);
    appended += fresh.length;
    if (restarted || appended > MOST_APPENDED) void ask();
    else if (asked.to === null && fresh.length) noteWhole((series.value = addRows(before, fresh)));
  }

  function noteWhole(answer: Series): void {
    if (asked.from === null && asked.to === null) whole.value = spanSeries(answer);
  }

  const soon = delay(append, 250);
  const ends = [
    listen("metrics", (event) => {
      if (event.job !== job) return;
      waiting.push(event.values);
      soon();
    }),
    listen("reset", () => void ask()),
    atEachOpening(() => void ask()),
  ];
  return {
    series,
    trouble,
    whole,
    zoom: (to) => {
      if (to.from === asked.from && to.to === asked.to) return;
      asked = to;
      void ask();
    },
    end: () => {
      abort.abort();
      ends.forEach((each) => each());
    },
  };
}

function stepOf(row: MetricsEvent["values"]): number {
  return Number(row["step"] ?? 0);
}
