/** One pair with its whole texts and numbers. */
import type { ScoredPair } from "../api/shapes";
import { Dialog } from "../parts/dialog";
import { TokensText } from "../parts/tokens_text";
import { formatNumber, formatShort, pluralize } from "../text/numbers";
import { difference } from "./pair_row";

export function PairDialog({ pair, onClose }: { pair: ScoredPair; onClose: () => void }) {
  return (
    <Dialog title={`Row ${pair.row}${pair.held_out ? ", held out" : ""}: margin ${formatShort(pair.margin)}`} wide onClose={onClose}>
      <div class="pair-texts">
        <Text title="Prompt" note={`${pluralize(pair.tokens["prompt"] ?? 0, "token")} · ${pair.place}`} text={pair.prompt} />
        <Text title="Chosen" note={describeSide(pair, "chosen")} text={pair.chosen_text} tone="chosen" />
        <Text title="Rejected" note={describeSide(pair, "rejected")} text={pair.rejected_text} tone="rejected" />
      </div>
    </Dialog>
  );
}

function describeSide(pair: ScoredPair, side: "chosen" | "rejected"): string {
  const parts = [pluralize(pair.tokens[side] ?? 0, "token"), `log-prob ${formatNumber(pair.logps[side])}`];
  const change = difference(pair, side);
  if (pair.ref && change !== null) parts.push(`reference ${formatNumber(pair.ref[side])}`, `Δ ${formatNumber(change)}`);
  return parts.join(" · ");
}

function Text({ title, note, text, tone = "" }: { title: string; note: string; text: string; tone?: string }) {
  return (
    <section class={`pair-side ${tone}`}>
      <h3>
        {title} <span class="soft number">{note}</span>
      </h3>
      <p class="prose">
        <TokensText text={text} />
      </p>
    </section>
  );
}
