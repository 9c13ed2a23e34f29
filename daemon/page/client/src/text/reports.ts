/** Says of a job's reports to other tools how far they are and what went wrong, as `prefd report` does. */
import type { JobDocument, ReportState } from "../api/shapes";
import { formatCount } from "./numbers";

export function describeReport({ train, held_out, state, error }: ReportState): string {
  const steps = [`to step ${formatCount(train)}`, held_out ? `evaluated to step ${formatCount(held_out)}` : ""];
  return [...steps, error ? "broken off" : state === "open" ? "follows the job" : state].filter(Boolean).join(", ");
}

/** What went wrong with a report, as a warning that stands on every tab. */
export function tellFailedReports(run: JobDocument): string[] {
  return run.reports
    .filter((report) => report.error)
    .map(({ to, error }) => `Its report to ${to} broke off: ${error}. That costs the job nothing; \`prefd report ${run.job.id} --to ${to}\` sends the rest.`);
}
