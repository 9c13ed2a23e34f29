/** What the server says of the text: its faults as it is typed, then what the job would need and the rows that it would take. */
import { computed, effect, signal } from "@preact/signals";
import { explain, postText } from "../api/client";
import type { JobNeeds, RowsPage, Validation } from "../api/shapes";
import { text } from "./editing";

export type Show = "all" | "kept" | "cut" | "dropped" | "held_out";

const VALIDATE_MS = 150;
const LOOK_MS = 400;
const MEDIA = "application/yaml";
export const PAGE_ROWS = 20;

/** An answer, and the text that it is of: while a newer one is asked for, the older stays in view. */
export interface Answered<T> {
  of: string;
  value: T | null;
  trouble: string;
}

export const verdict = signal<Answered<Validation> | null>(null);
export const needs = signal<Answered<JobNeeds> | null>(null);
export const rows = signal<Answered<RowsPage> | null>(null);
export const shown = signal<{ show: Show; offset: number }>({ show: "all", offset: 0 });

/** Whether the text is known to be a spec that can be queued; null while that is asked. */
export const valid = computed<boolean | null>(() => (verdict.value?.of === text.value ? (verdict.value.value?.ok ?? false) : null));

/** Asks while the screen is shown; returns what ends that. */
export function keepAsking(): () => void {
  const ends = [
    keepAnswer(verdict, VALIDATE_MS, () => ({ key: text.value, path: "/v1/validate" })),
    keepAnswer(needs, LOOK_MS, () => (valid.value ? { key: text.value, path: "/v1/explain" } : null)),
    keepAnswer(rows, LOOK_MS, () => {
      const { show, offset } = shown.value;
      return valid.value ? { key: text.value, path: "/v1/preview", query: { show, offset, limit: PAGE_ROWS } } : null;
    }),
  ];
  return () => ends.forEach((end) => end());
}

interface Question {
  key: string;
  path: string;
  query?: Record<string, string | number>;
}

function keepAnswer<T>(into: { value: Answered<T> | null }, wait: number, ask: () => Question | null): () => void {
  let abort: AbortController | null = null;
  return effect(() => {
    const question = ask();
    if (!question) return;
    const timer = setTimeout(() => {
      abort = new AbortController();
      void answer<T>(question, abort.signal).then((found) => found && (into.value = found));
    }, wait);
    return () => {
      clearTimeout(timer);
      abort?.abort();
      abort = null;
    };
  });
}

async function answer<T>({ key, path, query }: Question, abort: AbortSignal): Promise<Answered<T> | null> {
  try {
    return { of: key, value: await postText<T>(path, key, MEDIA, query ?? {}, abort), trouble: "" };
  } catch (error) {
    return abort.aborted ? null : { of: key, value: null, trouble: explain(error) };
  }
}
