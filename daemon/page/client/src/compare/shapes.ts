/** The server's comparison of jobs: where they differ, how they came out, and what may be compared at all. */
export interface ComparedJob {
  job: number;
  name: string;
  state: string;
  loss: string | null;
  settings: Record<string, unknown>;
  evaluated_at_step: number | null;
  /** Measure → value; beside the fields above. */
  [measure: string]: unknown;
}

export interface Comparison {
  jobs: ComparedJob[];
  /** The settings that are not the same in all. */
  differing: string[];
  /** Measure → the jobs with the best value; a measure that may not be compared here is left out. */
  best: Record<string, number[]>;
  notes: string[];
}

const NO_MEASURE = new Set(["job", "name", "state", "loss", "settings", "evaluated_at_step"]);

/** Lists the measures that at least one job has. */
export function listMeasures({ jobs }: Comparison): string[] {
  const names = new Set(jobs.flatMap((job) => Object.keys(job)));
  return [...names].filter((name) => !NO_MEASURE.has(name) && jobs.some((job) => typeof job[name] === "number"));
}
