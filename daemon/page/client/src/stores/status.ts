/** What the daemon does, asked for each few seconds while the tab is visible, and at once when a job changes its state. */
import { signal } from "@preact/signals";
import { ApiError, get } from "../api/client";
import type { Status } from "../api/shapes";
import { atEachOpening, listen } from "../api/stream";
import { locked } from "../api/token";
import { delay } from "./delay";

const EVERY = 3_000;

/** The newest answer of the daemon; null before the first, and while it is down. */
export const status = signal<Status | null>(null);

/** Why the daemon does not answer, in words; empty while it does or is not asked yet. */
export const daemonTrouble = signal("");

export async function refreshStatus(): Promise<void> {
  if (locked.value) return;
  try {
    status.value = await get<Status>("/v1/status");
    daemonTrouble.value = "";
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return;
    status.value = null;
    daemonTrouble.value = error instanceof Error ? error.message : String(error);
  }
}

export function keepStatus(): void {
  const soon = delay(() => void refreshStatus(), 300);
  setInterval(() => !document.hidden && void refreshStatus(), EVERY);
  document.addEventListener("visibilitychange", () => !document.hidden && soon());
  listen("job", soon);
  atEachOpening(() => void refreshStatus());
}
