/** Deletes what has ended long ago, after showing all that would go and what of it would stay. */
import { useState } from "preact/hooks";
import { formatQuery, post } from "../api/client";
import type { Cleaning } from "../api/shapes";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Trouble } from "../parts/empty";
import { tell, tellError } from "../parts/toast";
import { useAnswer } from "../stores/answer";
import { refreshJobs } from "../stores/jobs";
import { formatCount, formatSize } from "../text/numbers";

const DAY_S = 86_400;
const MOST_LINES = 50;
const PARTS = { job: "whole jobs", checkpoints: "their checkpoints", fused: "their fused models" } as const;
type Part = keyof typeof PARTS;

export function CleanDialog({ onClose }: { onClose: () => void }) {
  const [part, setPart] = useState<Part>("checkpoints");
  const [days, setDays] = useState("");
  const [keep, setKeep] = useState("20");
  const [deleting, setDeleting] = useState(false);
  const { value: plan, trouble } = useAnswer<Cleaning>(describeRules(part, days, keep));
  const clean = async () => {
    if (!plan) return;
    setDeleting(true);
    try {
      const jobs = plan.deleted.map((each) => each.job);
      await (part === "job" ? post("/v1/jobs/remove", { jobs }) : post("/v1/discard", { part, jobs }));
      tell(`${formatSize(plan.bytes)} deleted`);
      void refreshJobs();
      onClose();
    } catch (error) {
      tellError(error);
      setDeleting(false);
    }
  };
  const feet = (
    <>
      <Button onClick={onClose}>Leave it</Button>
      <Button tone="danger" onClick={() => void clean()} disabled={deleting || !plan?.deleted.length}>
        Delete {plan?.deleted.length ? formatSize(plan.bytes) : ""}
      </Button>
    </>
  );
  return (
    <Dialog title="Clean up" feet={feet} onClose={onClose}>
      <p>Of jobs that have ended. Adapters go with whole jobs alone, and the cache loses nothing.</p>
      <div class="clean-rules">
        <label>
          delete
          <select class="field" value={part} onChange={(event) => setPart(event.currentTarget.value as Part)}>
            {Object.entries(PARTS).map(([name, text]) => (
              <option key={name} value={name}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <label>
          but keep the last
          <input class="field number" inputMode="numeric" value={keep} onInput={(event) => setKeep(event.currentTarget.value)} />
        </label>
        <label>
          and what ended in the last days
          <input class="field number" inputMode="decimal" value={days} placeholder="0" onInput={(event) => setDays(event.currentTarget.value)} />
        </label>
      </div>
      <Trouble text={trouble} />
      {plan && <Plan plan={plan} />}
    </Dialog>
  );
}

/** The address of the plan for these rules. What is no number is sent as it is, for the server to say so. */
function describeRules(part: Part, days: string, keep: string): string {
  const age = days.trim() && (Number.isFinite(Number(days)) ? Number(days) * DAY_S : days);
  return `/v1/cleaning${formatQuery({ keep: keep.trim() || 0, older_than_s: age || null, part: part === "job" ? null : part })}`;
}

function Plan({ plan }: { plan: Cleaning }) {
  if (!plan.deleted.length && !plan.kept.length) return <p class="soft">Nothing would be deleted.</p>;
  const hidden = plan.deleted.length - MOST_LINES;
  return (
    <ul class="clean-plan number">
      {plan.deleted.slice(0, MOST_LINES).map((each) => (
        <li key={each.job}>
          #{each.job} {each.name} <span class="soft">{formatSize(each.bytes)}</span>
        </li>
      ))}
      {hidden > 0 && <li class="soft">and {formatCount(hidden)} more</li>}
      {plan.kept.map((each) => (
        <li key={`kept ${each.job}`} class="soft">
          #{each.job} stays: {each.reason}
        </li>
      ))}
    </ul>
  );
}
