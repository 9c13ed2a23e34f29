/** The list of jobs: a table on a desktop, a line of two rows each on a phone. */
import { useEffect, useRef } from "preact/hooks";
import type { ListedJob } from "../api/shapes";
import { Spark } from "../parts/spark";
import { StateMark } from "../parts/state";
import { now } from "../stores/clock";
import { pluralize } from "../text/numbers";
import { formatAge, formatDuration } from "../text/times";
import { Loss } from "./loss";
import { timeTaken } from "./pace";
import { Result } from "./result";

interface ListProps {
  jobs: readonly ListedJob[];
  selected: ReadonlySet<number>;
  /** The job that the keys act on. */
  focused: number | null;
  onSelect: (id: number) => void;
  onOpen: (id: number) => void;
}

export function JobList({ jobs, selected, focused, onSelect, onOpen }: ListProps) {
  return (
    <div class="card job-list" role="table" aria-label="Jobs">
      <div class="job-head" role="row">
        <span role="columnheader">
          <span class="hidden-label">chosen</span>
        </span>
        <span role="columnheader" class="right">
          #
        </span>
        {["State", "Name", "Loss", "Result", "Loss curve"].map((title) => (
          <span key={title} role="columnheader">
            {title}
          </span>
        ))}
        <span role="columnheader" class="right">
          Took
        </span>
        <span role="columnheader" class="right">
          Submitted
        </span>
      </div>
      {jobs.map((job) => (
        <JobRow key={job.id} job={job} selected={selected.has(job.id)} focused={job.id === focused} onSelect={onSelect} onOpen={onOpen} />
      ))}
    </div>
  );
}

interface RowProps {
  job: ListedJob;
  selected: boolean;
  focused: boolean;
  onSelect: (id: number) => void;
  onOpen: (id: number) => void;
}

function JobRow({ job, selected, focused, onSelect, onOpen }: RowProps) {
  const row = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (focused) row.current?.scrollIntoView({ block: "nearest" });
  }, [focused]);
  const open = (event: MouseEvent) => {
    if (!(event.target as Element).closest("a, input, label, button") && !getSelection()?.toString()) onOpen(job.id);
  };
  const taken = timeTaken(job, now.value);
  return (
    <div ref={row} role="row" class={`job-row ${focused ? "focused" : ""} ${selected ? "selected" : ""}`} onClick={open}>
      <span role="cell" class="job-check">
        <label>
          <input type="checkbox" checked={selected} onChange={() => onSelect(job.id)} aria-label={`Choose ${job.name}, job ${job.id}`} />
        </label>
      </span>
      <span role="cell" class="job-id soft number right">
        {job.id}
      </span>
      <span role="cell" class="job-state">
        <StateMark state={job.state} />
      </span>
      <span role="cell" class="job-name">
        <a class="name cut" href={`/jobs/${job.id}/charts`}>
          {job.name}
        </a>
        {job.group && <span class="tag">{job.group}</span>}
        {job.priority !== 0 && <span class="tag">priority {job.priority}</span>}
        {job.summary && job.summary.warnings > 0 && <span class="tag amber">{pluralize(job.summary.warnings, "warning")}</span>}
        {job.attempt > 1 && <span class="tag">attempt {job.attempt}</span>}
      </span>
      <span role="cell" class="job-loss">
        <Loss parts={job.summary?.task?.losses ?? []} />
      </span>
      <span role="cell" class="job-result">
        <Result job={job} />
      </span>
      <span role="cell" class="job-spark">{job.summary?.spark.length ? <Spark values={job.summary.spark} label={`Loss of ${job.name}`} /> : null}</span>
      <span role="cell" class="job-took number right">{taken === null ? "–" : formatDuration(taken)}</span>
      <span role="cell" class="job-age soft number right">{formatAge(job.created_at, now.value)}</span>
    </div>
  );
}
