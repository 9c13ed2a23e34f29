/** What stands where a run's pairs are not scored: how to have it done, what it waits for, how far it is, why it failed. */
import type { JobDocument, PairsPage } from "../api/shapes";
import { Bar } from "../parts/bar";
import { Button } from "../parts/button";
import { Empty, Trouble } from "../parts/empty";
import { formatCount } from "../text/numbers";
import { formatDuration } from "../text/times";

interface WaitingProps {
  run: JobDocument;
  page: PairsPage;
  onScore: () => void;
}

export function PairsWaiting({ run, page, onScore }: WaitingProps) {
  if (page.state === "waiting" || page.state === "scoring") return <Scoring page={page} />;
  const trained = run.job.state === "done";
  return (
    <div class="card">
      {page.state === "failed" && <Trouble text={page.reason ?? ""} />}
      <Empty title={page.state === "failed" ? "The pairs could not be scored" : "Not scored yet"}>
        <p>{trained ? "One pass of the trained policy over its pairs tells which it still gets wrong. The reference's numbers are in the cache." : "Pairs are scored with the policy of a job that is done."}</p>
        {trained && (
          <p class="empty-action">
            <Button tone="primary" onClick={onScore}>
              Score the pairs
            </Button>
          </p>
        )}
      </Empty>
    </div>
  );
}

function Scoring({ page }: { page: PairsPage }) {
  const progress = page.progress;
  return (
    <section class="card pace scoring number" role="status">
      <b>{page.state === "waiting" ? "waits for its turn" : "scoring"}</b>
      {progress && (
        <>
          <Bar share={progress.total ? progress.done / progress.total : 0} label={`${progress.done} of ${progress.total} pairs`} />
          <span>
            {formatCount(progress.done)} <span class="soft">/ {formatCount(progress.total)} pairs</span>
          </span>
          {progress.eta_s != null && <span>{formatDuration(progress.eta_s)} left</span>}
        </>
      )}
      {page.reason && <span class="soft">{page.reason}</span>}
    </section>
  );
}
