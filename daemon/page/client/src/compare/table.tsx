/** The settings by which jobs differ and how they came out, a column for each job. A star is only where it may be compared. */
import type { ComponentChildren } from "preact";
import type { ComparisonOfJobs, JobBesideOthers, State } from "../api/shapes";
import { JOB_COLORS } from "./colors";
import { formatMeasure, listBest, listMeasures, nameMeasure } from "./measures";
import { Button } from "../parts/button";
import { StateMark } from "../parts/state";
import { formatNumber } from "../text/numbers";

export function CompareTable({ comparison, onRemove }: { comparison: ComparisonOfJobs; onRemove: (id: number) => void }) {
  const { jobs, differing } = comparison;
  return (
    <div class="card scrolls">
      <table class="table compare-table" style={{ minWidth: `${140 * (jobs.length + 1)}px` }}>
        <caption class="hidden-label">The jobs side by side</caption>
        <thead>
          <tr>
            <td />
            {jobs.map((job, index) => (
              <th key={job.job} scope="col">
                <a href={`/jobs/${job.job}/charts`}>
                  <i class="dash" style={{ background: `var(--${JOB_COLORS[index % JOB_COLORS.length]})` }} /> <span class="soft number">#{job.job}</span> <b>{job.name}</b>
                </a>
                <Button tone="plain" icon="close" label={`Leave out job ${job.job}`} onClick={() => onRemove(job.job)} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Line name="state" jobs={jobs} cell={(job) => <StateMark state={job.state as State} />} />
          <Line name="loss" jobs={jobs} cell={(job) => job.loss ?? "–"} />
          {differing.map((name) => (
            <Line key={name} name={name} jobs={jobs} cell={(job) => showSetting(job.settings[name])} setting />
          ))}
          <Line name="evaluated at step" jobs={jobs} cell={(job) => formatNumber(job.evaluated_at_step)} />
          {listMeasures(comparison).map((name) => (
            <Line key={name} name={nameMeasure(name)} jobs={jobs} cell={(job) => formatMeasure(name, job[name])} best={listBest(comparison, name)} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface LineProps {
  name: string;
  jobs: readonly JobBesideOthers[];
  cell: (job: JobBesideOthers) => ComponentChildren;
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
