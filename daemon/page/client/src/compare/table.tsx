/** The settings by which jobs differ and how they came out, a column for each job. A star is only where it may be compared. */
import type { ComparisonOfJobs, JobBesideOthers } from "../api/shapes";
import { JOB_COLORS } from "./colors";
import { listMeasures } from "./measures";
import { formatNumber } from "../text/numbers";
import { formatDuration } from "../text/times";

export function CompareTable({ comparison }: { comparison: ComparisonOfJobs }) {
  const { jobs, differing, best } = comparison;
  return (
    <div class="card scrolls">
      <table class="table compare-table">
        <caption class="hidden-label">The jobs side by side</caption>
        <thead>
          <tr>
            <td />
            {jobs.map((job, index) => (
              <th key={job.job} scope="col">
                <a href={`/jobs/${job.job}/charts`}>
                  <i class="dash" style={{ background: `var(--${JOB_COLORS[index % JOB_COLORS.length]})` }} /> <b>{job.job}</b> {job.name}
                </a>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Line name="state" jobs={jobs} cell={(job) => job.state} />
          <Line name="loss" jobs={jobs} cell={(job) => job.loss ?? "–"} />
          {differing.map((name) => (
            <Line key={name} name={name} jobs={jobs} cell={(job) => showSetting(job.settings[name])} setting />
          ))}
          <Line name="evaluated at step" jobs={jobs} cell={(job) => formatNumber(job.evaluated_at_step)} />
          {listMeasures(comparison).map((name) => (
            <Line key={name} name={name} jobs={jobs} cell={(job) => showMeasure(name, job[name])} best={best[name] ?? []} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface LineProps {
  name: string;
  jobs: readonly JobBesideOthers[];
  cell: (job: JobBesideOthers) => string;
  setting?: boolean;
  best?: readonly number[];
}

function Line({ name, jobs, cell, setting, best = [] }: LineProps) {
  return (
    <tr class={setting ? "differs" : ""}>
      <th scope="row" class={setting ? "mono" : ""}>
        {name}
      </th>
      {jobs.map((job) => (
        <td key={job.job} class={`number ${best.includes(job.job) ? "best" : ""}`}>
          {best.includes(job.job) && <span title="the best of these, compared fairly">★ </span>}
          {cell(job)}
        </td>
      ))}
    </tr>
  );
}

function showSetting(value: unknown): string {
  if (value === undefined || value === null) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function showMeasure(name: string, value: unknown): string {
  if (typeof value !== "number") return "–";
  return name === "seconds" ? formatDuration(value) : formatNumber(value);
}
