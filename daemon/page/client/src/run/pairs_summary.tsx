/** How many pairs are still the wrong way round, how margins lie, and which of the pairs are listed. */
import { useAddress } from "../address";
import type { PairsHead, PairsPage } from "../api/shapes";
import { Bars } from "../parts/bars";
import { Button } from "../parts/button";
import { Chips } from "../parts/chips";
import { formatCount, formatShare, formatShort } from "../text/numbers";
import type { PairsChoice } from "./pairs";

interface SummaryProps {
  page: PairsPage;
  head: PairsHead;
  choice: PairsChoice;
  onScore: () => void;
}

const ORDERS = [
  { value: "margin", text: "worst first" },
  { value: "best", text: "best first" },
  { value: "loss", text: "by loss" },
  { value: "row", text: "by row" },
] as const;

export function PairsSummary({ page, head, choice, onScore }: SummaryProps) {
  const { change } = useAddress();
  const all = (head.train?.pairs ?? 0) + (head.held_out?.pairs ?? 0);
  const { train, held_out, from, width } = head.histogram;
  const counts = train.map((count, index) => (choice.heldOut ? 0 : count) + (held_out[index] ?? 0));
  const choose = (wrong: boolean, heldOut: boolean) => change({ only: [wrong && "wrong", heldOut && "held_out"].filter(Boolean).join(",") });
  return (
    <section class="card pair-summary">
      <div>
        <p>
          <b class="big number">{formatCount(page.wrong ?? 0)}</b> of {formatCount(all)} pairs are still the wrong way round
        </p>
        <p class="soft">the rejected answer has the higher reward{head.scored_at_step === null ? "" : `, at step ${formatCount(head.scored_at_step)}`}</p>
        <p class="soft number">{describeParts(head)}</p>
      </div>
      <Bars from={from} width={width} counts={counts} split={0} label="How many pairs have which margin" />
      <div class="pair-tools">
        <Chips label="Order" options={ORDERS} value={(ORDERS.find((each) => each.value === choice.order) ?? ORDERS[0]).value} onChange={(value) => change({ order: value === "margin" ? null : value })} />
        <div>
          <label class="check">
            <input type="checkbox" checked={choice.wrong} onChange={() => choose(!choice.wrong, choice.heldOut)} /> wrong only
          </label>
          <label class="check">
            <input type="checkbox" checked={choice.heldOut} onChange={() => choose(choice.wrong, !choice.heldOut)} /> held out only
          </label>
          {page.state === "done" && <Button tone="plain" icon="retry" label="Score again" onClick={onScore} />}
        </div>
      </div>
      {(head.notes ?? []).map((note) => (
        <p key={note} class="amber whole">
          {note}
        </p>
      ))}
    </section>
  );
}

function describeParts(head: PairsHead): string {
  const parts = [
    head.held_out && `held out ${formatShare(head.held_out.accuracy)}, margin ${formatShort(head.held_out.margin)}`,
    head.train && `train ${formatShare(head.train.accuracy)}, margin ${formatShort(head.train.margin)}`,
  ];
  return parts.filter(Boolean).join(" · ");
}
