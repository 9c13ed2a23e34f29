/** The pairs by margin, worst first: those that the policy still gets wrong are most often labels to look at. */
import { useAddress } from "../address";
import type { JobDocument } from "../api/shapes";
import { Button } from "../parts/button";
import { Trouble } from "../parts/empty";
import { PairDialog } from "./pair_dialog";
import { PairRow } from "./pair_row";
import { usePairs } from "./pairs";
import { PairsSummary } from "./pairs_summary";
import { PairsWaiting } from "./pairs_waiting";

const COLUMNS = ["row", "margin", "prompt", "chosen", "rejected", "Δ chosen", "Δ rejected"];

export function PairsTab({ run }: { run: JobDocument }) {
  const { query, change } = useAddress();
  const only = (query["only"] ?? "").split(",");
  const choice = { order: query["order"] ?? "margin", wrong: only.includes("wrong"), heldOut: only.includes("held_out") };
  const { page, pairs, trouble, score, loadMore } = usePairs(run.job.id, choice);
  const open = pairs.find((pair) => String(pair.row) === query["pair"]);
  const largest = Math.max(1e-9, ...pairs.map((pair) => Math.abs(pair.margin ?? 0)));
  const head = page?.head;
  return (
    <div class="below">
      <Trouble text={trouble} />
      {!page && !trouble && <p class="soft">The pairs are being read.</p>}
      {page && page.state !== "done" && <PairsWaiting run={run} page={page} onScore={score} />}
      {head && page && (
        <>
          <PairsSummary page={page} head={head} choice={choice} onScore={score} />
          <div class="card below pair-list" role="table" aria-label="Pairs">
            <div class="pair-head" role="row">
              {COLUMNS.map((title) => (
                <span key={title} role="columnheader">
                  {title}
                </span>
              ))}
            </div>
            {pairs.map((pair) => (
              <PairRow key={`${pair.place} ${pair.row}`} pair={pair} largest={largest} onOpen={() => change({ pair: pair.row })} />
            ))}
            {!pairs.length && <p class="soft no-pair">No pair is left by these choices.</p>}
          </div>
          {pairs.length < (page.total ?? 0) && (
            <p class="list-more">
              <Button onClick={loadMore}>More pairs</Button>
            </p>
          )}
        </>
      )}
      {open && <PairDialog pair={open} onClose={() => change({ pair: null })} />}
    </div>
  );
}
