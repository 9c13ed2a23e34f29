/** What stands where there is nothing yet: why, and what to do. */
import type { ComponentChildren } from "preact";

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Trouble({ text }: { text: string }) {
  if (!text) return null;
  return (
    <div class="notice error" role="alert">
      <pre>{text}</pre>
    </div>
  );
}
