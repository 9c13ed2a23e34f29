/** The head of a run: its name, state and loss, what can be done with it, and how far it is. */
import { useState } from "preact/hooks";
import { useAddress } from "../address";
import type { JobDocument } from "../api/shapes";
import { ACTIONS, act, fitsAll } from "../jobs/actions";
import { Loss } from "../jobs/loss";
import { formatPercent, readPace } from "../jobs/pace";
import { PaceBar, PaceNumbers } from "../jobs/pace_parts";
import { Button } from "../parts/button";
import { Command } from "../parts/command";
import { StateMark } from "../parts/state";
import { SCREENS } from "../screens";
import { now } from "../stores/clock";
import { shortenModel } from "../text/losses";
import { EditDialog } from "./edit";
import { isClients, readLosses, readModel, readRanks } from "./spec";

export function RunHead({ run }: { run: JobDocument }) {
  const { job } = run;
  const losses = readLosses(run.spec);
  const [model, ranks] = [readModel(run.spec), readRanks(run.spec)];
  return (
    <header class="run-head">
      <p class="crumbs soft">
        <a href="/">Jobs</a> / #{job.id}
      </p>
      <div class="run-title">
        <h1>{job.name}</h1>
        <StateMark state={job.state} />
        {losses.length > 0 && <Loss parts={losses} />}
        {model && (
          <span class="soft" title={model}>
            {shortenModel(model)}
          </span>
        )}
        {job.group && <span class="tag">{job.group}</span>}
        {job.priority !== 0 && <span class="tag">priority {job.priority}</span>}
        {ranks !== 1 && <span class="tag">{ranks === "all" ? "all ranks" : `${ranks} ranks`}</span>}
        {job.attempt > 1 && <span class="tag">attempt {job.attempt}</span>}
        <RunActions run={run} />
      </div>
      <RunLine run={run} />
    </header>
  );
}

function RunActions({ run }: { run: JobDocument }) {
  const { go } = useAddress();
  const [editing, setEditing] = useState(false);
  const { job } = run;
  const has = (path: string) => SCREENS.some((each) => each.path.startsWith(path));
  const fitting = ACTIONS.filter((action) => fitsAll(action, [job]));
  const waits = job.state === "queued" || job.state === "paused";
  return (
    <div class="run-actions">
      {fitting.filter((action) => action.name !== "remove").map((action) => (
        <Button key={action.name} {...(action.icon && { icon: action.icon })} onClick={() => void act(action, [job])}>
          {action.text}
        </Button>
      ))}
      {waits && run.spec && <Button onClick={() => setEditing(true)}>Edit</Button>}
      {has("/train") && !isClients(run.spec) && <Button onClick={() => go(`/train?from=${job.id}`)}>Duplicate</Button>}
      {has("/compare") && <Button onClick={() => go(`/compare?ids=${job.id}`)}>Compare</Button>}
      {fitting.filter((action) => action.name === "remove").map((action) => (
        <Button key={action.name} onClick={() => void act(action, [job]).then((done) => done && go("/"))}>
          {action.text}
        </Button>
      ))}
      {editing && <EditDialog run={run} onClose={() => setEditing(false)} />}
    </div>
  );
}

/** The bar of a phase that runs; else why the job waits, or how it ended. */
function RunLine({ run }: { run: JobDocument }) {
  const { job } = run;
  const pace = readPace(job.state, run.progress, now.value);
  if (pace)
    return (
      <div class="pace number">
        <PaceBar pace={pace} label={`${formatPercent(pace)} of the ${run.progress!.phase}`} />
        <PaceNumbers pace={pace} />
      </div>
    );
  const text = job.state === "queued" && job.waiting ? job.waiting : job.reason;
  const adapter = job.state === "done" && !run.run_gone ? run.training?.summary["adapter"] : null;
  if (!text && !adapter) return null;
  if (job.state !== "failed")
    return (
      <>
        {text && <p class="soft run-reason">{text}</p>}
        {typeof adapter === "string" && adapter && <Command text={adapter} what="its adapter" />}
      </>
    );
  return (
    <div class="notice error">
      <pre>{text}</pre>
    </div>
  );
}
