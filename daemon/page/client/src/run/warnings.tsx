/** What the phases of a run warned of, each once. */
import type { JobDocument } from "../api/shapes";
import { wordMetrics } from "../text/metrics";

export function Warnings({ run }: { run: JobDocument }) {
  const phases = [run.precompute, run.training];
  const all = phases.flatMap((phase) => (phase?.summary?.["warnings"] as string[] | undefined) ?? []);
  const damage = (run.precompute?.summary?.["damage"] as string[] | undefined) ?? [];
  return (
    <>
      {[...new Set([...all, ...damage])].map((text) => (
        <div key={text} class="notice">
          <span class="amber" aria-hidden="true">
            !
          </span>
          <span>{wordMetrics(text)}</span>
        </div>
      ))}
    </>
  );
}
