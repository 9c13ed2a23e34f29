/** What the phases of a run warned of and what went wrong with its reports, each once. */
import type { JobDocument } from "../api/shapes";
import { CodeText } from "../parts/code_text";
import { wordMetrics } from "../text/metrics";
import { tellFailedReports } from "../text/reports";

export function Warnings({ run }: { run: JobDocument }) {
  const phases = [run.precompute, run.training];
  const all = phases.flatMap((phase) => (phase?.summary?.["warnings"] as string[] | undefined) ?? []);
  const damage = (run.precompute?.summary?.["damage"] as string[] | undefined) ?? [];
  return (
    <>
      {[...new Set([...all, ...damage, ...tellFailedReports(run)])].map((text) => (
        <div key={text} class="notice">
          <span class="amber" aria-hidden="true">
            !
          </span>
          <span>
            <CodeText text={wordMetrics(text)} />
          </span>
        </div>
      ))}
    </>
  );
}
