/** Which fields of a compared job are measures, what each is called, and how its values are written. */
import { EVAL, type ComparisonOfJobs } from "../api/shapes";
import { METRICS } from "../charts/panels";
import { formatNumber } from "../text/numbers";
import { formatDuration } from "../text/times";

const NO_MEASURE = new Set(["job", "name", "state", "loss", "settings", "evaluated_at_step"]);

interface Measure {
  words: string;
  format: (value: number) => string;
}

const KNOWN: Readonly<Record<string, Measure>> = {
  [EVAL + METRICS.loss]: { words: "held-out loss", format: formatNumber },
  [EVAL + METRICS.accuracy]: { words: "held-out accuracy", format: (value) => `${formatNumber(100 * value)} %` },
  [EVAL + METRICS.margin]: { words: "held-out margin", format: formatNumber },
  [`${EVAL}rewards/chosen`]: { words: "reward, chosen", format: formatNumber },
  [`${EVAL}rewards/rejected`]: { words: "reward, rejected", format: formatNumber },
  [`${EVAL}logps/chosen`]: { words: "log-probability, chosen", format: formatNumber },
  [`${EVAL}logps/rejected`]: { words: "log-probability, rejected", format: formatNumber },
  seconds: { words: "training took", format: formatDuration },
  peak_memory_gb: { words: "peak memory", format: (value) => (value < 1 ? `${formatNumber(1000 * value)} MB` : `${formatNumber(value)} GB`) },
};

/** Lists the measures that at least one job has. */
export function listMeasures({ jobs }: ComparisonOfJobs): string[] {
  const names = new Set(jobs.flatMap((job) => Object.keys(job)));
  return [...names].filter((name) => !NO_MEASURE.has(name) && jobs.some((job) => typeof job[name] === "number"));
}

/** The jobs to be starred: those with the best value, and those whose value reads the same; none where all read alike. */
export function listBest({ jobs, best }: ComparisonOfJobs, name: string): number[] {
  const measured = jobs.filter((job) => typeof job[name] === "number" && (name.startsWith(EVAL) || job.state === "done"));
  const first = measured.find((job) => best[name]?.includes(job.job));
  if (!first) return [];
  const alike = measured.filter((job) => formatMeasure(name, job[name]) === formatMeasure(name, first[name]));
  return alike.length === measured.length ? [] : alike.map((job) => job.job);
}

/** Names a measure in words; a plugin's own metric has the name that it gave. */
export function nameMeasure(name: string): string {
  return KNOWN[name]?.words ?? name;
}

export function formatMeasure(name: string, value: unknown): string {
  return typeof value === "number" ? (KNOWN[name]?.format ?? formatNumber)(value) : "–";
}
