/**
 * Listens to the server's events: one stream for a visible tab, since browsers allow six connections to a host. A hidden tab closes
 * its stream and comes back with the last id, so nothing is missed. It is read by fetch: an EventSource cannot send the token.
 */
import { effect, signal, untracked } from "@preact/signals";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { ApiError, send } from "./client";
import type { Events } from "./shapes";
import { locked, token } from "./token";

type Listener<K extends keyof Events> = (data: Events[K]) => void;

/** Whether the stream is open; false while the page tries to come back. */
export const streaming = signal(false);

/** Grows each time the stream is opened. */
const openings = signal(0);

const listeners: { [K in keyof Events]?: Set<Listener<K>> } = {};
const LONGEST_WAIT = 10_000;
const SOON = 300;
let lastId = "";
let stop: AbortController | null = null;

/** Calls `listener` with each event of a kind. Returns what ends it. */
export function listen<K extends keyof Events>(kind: K, listener: Listener<K>): () => void {
  const all = ((listeners[kind] as Set<Listener<K>> | undefined) ??= new Set<Listener<K>>() as never) as Set<Listener<K>>;
  all.add(listener);
  return () => all.delete(listener);
}

/**
 * Calls `act` each time the stream is opened, for what no event has told in between; once without it, where it is not open soon.
 * So what is asked for first is asked once, and nothing happens between the answer and the first event. Returns what ends it.
 */
export function atEachOpening(act: () => void): () => void {
  const timer = setTimeout(() => !locked.peek() && act(), SOON);
  const end = effect(() => {
    if (!openings.value || locked.value) return;
    clearTimeout(timer);
    untracked(act);
  });
  return () => {
    clearTimeout(timer);
    end();
  };
}

/** Opens the stream whenever the tab is visible and there is a token, for as long as the page lives. */
export function keepStreaming(): void {
  const visible = signal(!document.hidden);
  document.addEventListener("visibilitychange", () => (visible.value = !document.hidden));
  effect(() => {
    const wanted = visible.value && !locked.value && token.value;
    stop?.abort();
    stop = null;
    streaming.value = false;
    if (wanted) void follow((stop = new AbortController()).signal);
  });
}

async function follow(abort: AbortSignal): Promise<void> {
  let wait = 500;
  while (!abort.aborted) {
    try {
      await read(abort);
      wait = 500;
    } catch (error) {
      if (abort.aborted || (error instanceof ApiError && error.status === 401)) return;
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
    if (abort.aborted) return;
    streaming.value = false;
    await pause(wait, abort);
  }
}

async function read(abort: AbortSignal): Promise<void> {
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const response = await send("/v1/events", { headers, signal: abort });
  streaming.value = true;
  openings.value += 1;
  const parser = createParser({ onEvent: dispatch });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    lastId ||= /^id: (.+)$/m.exec(value)?.[1] ?? ""; // the place where it begins comes without an event, which a parser passes over
    parser.feed(value);
  }
}

function dispatch(message: EventSourceMessage): void {
  if (message.id) lastId = message.id;
  const all = listeners[message.event as keyof Events] as Set<(data: unknown) => void> | undefined;
  if (!all?.size) return;
  const data: unknown = JSON.parse(message.data);
  for (const each of all) each(data);
}

function pause(ms: number, abort: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    abort.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
