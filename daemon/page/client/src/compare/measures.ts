/** Which fields of a compared job are measures: all that are not its settings. */
import type { ComparisonOfJobs } from "../api/shapes";

const NO_MEASURE = new Set(["job", "name", "state", "loss", "settings", "evaluated_at_step"]);

/** Lists the measures that at least one job has. */
export function listMeasures({ jobs }: ComparisonOfJobs): string[] {
  const names = new Set(jobs.flatMap((job) => Object.keys(job)));
  return [...names].filter((name) => !NO_MEASURE.has(name) && jobs.some((job) => typeof job[name] === "number"));
}
