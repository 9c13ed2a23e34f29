/** Short messages at the edge: what was done, which goes by itself, and what failed, which stays until it is closed. */
import { signal } from "@preact/signals";
import { explain } from "../api/client";
import { Button } from "./button";

interface Toast {
  id: number;
  text: string;
  error: boolean;
}

const toasts = signal<readonly Toast[]>([]);
const STAYS_MS = 5_000;
const MOST = 4;
let last = 0;

export function tell(text: string): void {
  const id = add(text, false);
  setTimeout(() => remove(id), STAYS_MS);
}

export function tellError(error: unknown): void {
  add(explain(error), true);
}

function add(text: string, error: boolean): number {
  const id = ++last;
  toasts.value = [...toasts.value, { id, text, error }].slice(-MOST);
  return id;
}

function remove(id: number): void {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((each) => (
        <div key={each.id} class={`toast ${each.error ? "error" : ""}`}>
          <span>{each.text}</span>
          <Button tone="plain" icon="close" label="Close the message" onClick={() => remove(each.id)} />
        </div>
      ))}
    </div>
  );
}
