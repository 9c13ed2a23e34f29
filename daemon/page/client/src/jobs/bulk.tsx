/** What can be done with the chosen jobs: only what fits all of them. */
import type { ListedJob } from "../api/shapes";
import { useAddress } from "../address";
import { Button } from "../parts/button";
import { ENDED } from "../parts/state";
import { SCREENS } from "../screens";
import { jobs } from "../stores/jobs";
import { pluralize } from "../text/numbers";
import { ACTIONS, act, discard, fitsAll, putFirst } from "./actions";

interface BulkProps {
  chosen: readonly ListedJob[];
  onClear: () => void;
}

export function BulkBar({ chosen, onClear }: BulkProps) {
  const { go } = useAddress();
  const compares = SCREENS.some((each) => each.path.startsWith("/compare"));
  const ended = chosen.every((job) => ENDED.includes(job.state));
  const waits = chosen.every((job) => job.state === "queued");
  return (
    <div class="bulk card">
      <b>{pluralize(chosen.length, "job")}</b>
      {compares && chosen.length > 1 && <Button onClick={() => go(`/compare?ids=${chosen.map((job) => job.id).join(",")}`)}>Compare</Button>}
      {ACTIONS.filter((action) => fitsAll(action, chosen)).map((action) => (
        <Button key={action.name} onClick={() => void act(action, chosen)}>
          {action.text}
        </Button>
      ))}
      {waits && (
        <Button icon="up" onClick={() => void putFirst(chosen, jobs.value)}>
          First in the queue
        </Button>
      )}
      {ended && <Button onClick={() => void discard("checkpoints", chosen)}>Delete checkpoints</Button>}
      {ended && <Button onClick={() => void discard("fused", chosen)}>Delete fused models</Button>}
      <Button tone="plain" icon="close" label="Choose none" onClick={onClear} />
    </div>
  );
}
