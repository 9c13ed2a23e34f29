/** The moment, for what is told as "5 min ago" and "1m31s left"; it moves once a second while the tab is visible. */
import { signal } from "@preact/signals";

export const now = signal(Date.now() / 1000);

setInterval(() => {
  if (!document.hidden) now.value = Date.now() / 1000;
}, 1000);
