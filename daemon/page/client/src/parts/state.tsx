/** A job's state, by a mark whose shape differs too: colour alone is not seen by everyone. */
import type { State } from "../api/shapes";

export const RUNNING: readonly State[] = ["precomputing", "training", "live"];
export const ENDED: readonly State[] = ["done", "failed", "cancelled"];

export function StateMark({ state }: { state: State }) {
  return (
    <span class={`state ${state === "failed" ? "bad" : state === "queued" || state === "cancelled" ? "soft" : ""}`}>
      <span class={`dot ${state}`} aria-hidden="true" />
      {state}
    </span>
  );
}
