/** Which jobs are compared: those that are, each with a way out, and a list of the others. */
import { useEffect } from "preact/hooks";
import type { ListedJob } from "../api/shapes";
import { formatParams } from "../text/losses";
import { jobs, keepJobs } from "../stores/jobs";

interface ChoiceProps {
  ids: readonly number[];
  onChange: (ids: readonly number[]) => void;
}

/** A list to choose one more job from; the newest are first. */
export function AddJob({ ids, onChange }: ChoiceProps) {
  useEffect(keepJobs, []);
  const others = listOthers(jobs.value, ids);
  if (!others.length) return null;
  return (
    <select class="field" aria-label="Add a job" value="" onChange={(event) => event.currentTarget.value && onChange([...ids, Number(event.currentTarget.value)])}>
      <option value="">+ add a job</option>
      {others.map((job) => (
        <option key={job.id} value={job.id}>
          #{job.id} {job.name}
        </option>
      ))}
    </select>
  );
}

const OFFERED = 8;

/** Where nothing is compared yet: the newest jobs that have something to compare. */
export function OfferedJobs({ ids, onChange }: ChoiceProps) {
  const offered = listOthers(jobs.value, ids).slice(0, OFFERED);
  if (!offered.length) return null;
  return (
    <div class="offered">
      {offered.map((job) => (
        <button key={job.id} type="button" class="button" onClick={() => onChange([...ids, job.id])}>
          <span class="soft number">#{job.id}</span> <span class="name">{job.name}</span>
          <span class="soft">{(job.summary?.task?.losses ?? []).map((part) => `${part.name} ${formatParams(part.params)}`).join(" + ")}</span>
        </button>
      ))}
    </div>
  );
}

/** The jobs that have begun to train, and are not compared already. */
function listOthers(all: readonly ListedJob[], ids: readonly number[]): ListedJob[] {
  return all.filter((job) => !ids.includes(job.id) && Boolean(job.summary?.spark.length));
}
