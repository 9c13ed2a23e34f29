/**
 * The spec's text, which the form and the editor share. While the editor is shown it owns the text: the form's changes are made
 * in it, as if typed there, so neither overtakes the other.
 */
import { computed, signal } from "@preact/signals";
import { parse } from "./document";

const KEY = "prefd-draft";

export interface Change {
  from: number;
  to: number;
  insert: string;
}

export const START = "model: \ndata:\n  path: \nloss:\n  name: sigmoid\ntraining:\n  learning_rate: 1e-5\n";

/** The spec's text as it stands. Write it by `setText` and `changeText`. */
export const text = signal(readDraft());

export const spec = computed(() => parse(text.value));

let editor: ((change: Change) => void) | null = null;

/** Hands the text over to an editor, which calls `noteText` after each of its changes; returns what ends that. */
export function attachEditor(apply: (change: Change) => void): () => void {
  editor = apply;
  return () => {
    if (editor === apply) editor = null;
  };
}

/** Takes over what the editor holds now. */
export function noteText(current: string): void {
  text.value = current;
  keepDraft(current);
}

/** Replaces the text, by the least change that gives the new one, so that a cursor stays where it was. */
export function setText(next: string): void {
  const change = findChange(text.peek(), next);
  if (!change) return;
  if (editor) editor(change);
  else noteText(next);
}

/** Finds the one replacement that makes `after` of `before`; null where they are the same. */
export function findChange(before: string, after: string): Change | null {
  if (before === after) return null;
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start++;
  let end = 0;
  while (end < most - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  return { from: start, to: before.length - end, insert: after.slice(start, after.length - end) };
}

function keepDraft(current: string): void {
  try {
    localStorage.setItem(KEY, current);
  } catch {
    // A browser that stores nothing keeps the text for as long as the page is open.
  }
}

function readDraft(): string {
  try {
    return localStorage.getItem(KEY) ?? START;
  } catch {
    return START;
  }
}
