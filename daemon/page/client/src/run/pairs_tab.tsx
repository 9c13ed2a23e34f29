/** The pairs by margin, worst first: those that the policy still gets wrong are most often labels to look at. */
import { useState } from "preact/hooks";
import { useAddress } from "../address";
import type { JobDocument } from "../api/shapes";
import { Bars } from "../parts/bars";
import { Button } from "../parts/button";
import { Chips } from "../parts/chips";
import { Empty, Trouble } from "../parts/empty";
import { formatCount } from "../text/numbers";
import { usePairs, type Pairs } from "./pairs";
import { PairDialog } from "./pair_dialog";
import { PairRow } from "./pair_row";

const PAGE = 100;
const MOST = 10_000;

export function PairsTab({ run }: { run: JobDocument }) {
  const { query, change } = useAddress();
  const [limit, setLimit] = useState(PAGE);
  const only = query["only"] ?? "";
  const { pairs, unmeasured, measuring, trouble, measure } = usePairs(run.job.id, only, "margin", limit);
  const open = pairs?.pairs.find((pair) => String(pair.row) === query["pair"]);
  if (!pairs)
    return (
      <div class="below">
        <Trouble text={trouble} />
        {unmeasured && <Unmeasured run={run} measuring={measuring} onMeasure={measure} />}
      </div>
    );
  const largest = Math.max(1e-9, ...pairs.pairs.map((pair) => Math.abs(pair.margin ?? 0)));
  return (
    <div class="below">
      <Trouble text={trouble} />
      <Summary pairs={pairs} measuring={measuring} onMeasure={measure} only={only} onOnly={(value) => change({ only: value })} />
      <div class="card below pair-list" role="table" aria-label="Pairs, the worst first">
        <div class="pair-head" role="row">
          {["row", "margin", "prompt", "chosen", "rejected", "Δ chosen", "Δ rejected"].map((title) => (
            <span key={title} role="columnheader">
              {title}
            </span>
          ))}
        </div>
        {pairs.pairs.map((pair) => (
          <PairRow key={pair.row} pair={pair} largest={largest} onOpen={() => change({ pair: pair.row })} />
        ))}
      </div>
      {pairs.pairs.length >= limit && limit < MOST && (
        <p class="list-more">
          <Button onClick={() => setLimit(limit * 4)}>More pairs</Button>
        </p>
      )}
      {open && <PairDialog pair={open} onClose={() => change({ pair: null })} />}
    </div>
  );
}

interface SummaryProps {
  pairs: Pairs;
  measuring: boolean;
  only: string;
  onMeasure: () => void;
  onOnly: (value: string) => void;
}

const ONLY = [
  { value: "", text: "all" },
  { value: "wrong", text: "wrong" },
  { value: "held_out", text: "held out" },
] as const;

function Summary({ pairs, measuring, only, onMeasure, onOnly }: SummaryProps) {
  return (
    <section class="card pair-summary">
      <div>
        <p>
          <b class="big number">{formatCount(pairs.wrong)}</b> of {formatCount(pairs.total)} pairs are still the wrong way round
        </p>
        <p class="soft">the rejected answer has the higher reward{pairs.scored_at_step === null ? "" : `, at step ${formatCount(pairs.scored_at_step)}`}</p>
      </div>
      <Bars {...pairs.histogram} split={0} label="How many pairs have which margin" />
      <div class="pair-tools">
        <Chips label="Which pairs" options={ONLY} value={(ONLY.find((each) => each.value === only) ?? ONLY[0]).value} onChange={onOnly} />
        <Button tone="plain" icon="retry" label="Measure again" disabled={measuring} onClick={onMeasure} />
      </div>
    </section>
  );
}

function Unmeasured({ run, measuring, onMeasure }: { run: JobDocument; measuring: boolean; onMeasure: () => void }) {
  const trained = run.job.state === "done";
  const text = measuring
    ? "The policy reads each pair once. The list comes by itself."
    : trained
      ? "One pass of the trained policy over its pairs tells which of them it still gets wrong; the reference's numbers are in the cache."
      : "Pairs are measured with the adapter of a job that is done.";
  return (
    <div class="card">
      <Empty title={measuring ? "Measuring" : "Not measured yet"}>
        <p>{text}</p>
        {trained && !measuring && (
          <p class="empty-action">
            <Button tone="primary" onClick={onMeasure}>
              Measure the pairs
            </Button>
          </p>
        )}
      </Empty>
    </div>
  );
}

