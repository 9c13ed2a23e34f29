/** One pair in the list: its margin to either side of zero, and the beginning of its texts. */
import type { ScoredPair } from "../api/shapes";
import { shortenPrompt, shortenText } from "../parts/tokens_text";
import { formatShort } from "../text/numbers";

interface RowProps {
  pair: ScoredPair;
  /** The largest margin of the list, by which the bars are scaled. */
  largest: number;
  onOpen: () => void;
}

export function PairRow({ pair, largest, onOpen }: RowProps) {
  return (
    <div class="pair-row" role="row" tabIndex={0} onClick={onOpen} onKeyDown={(event) => event.key === "Enter" && onOpen()}>
      <span role="cell" class="pair-number soft number">
        {pair.row} {pair.held_out && <span class="tag">held out</span>}
      </span>
      <span role="cell" class="pair-margin number">
        <MarginBar share={(pair.margin ?? 0) / largest} />
        {formatShort(pair.margin)}
      </span>
      <span role="cell" class="pair-text cut">{shortenPrompt(pair.prompt)}</span>
      <span role="cell" class="pair-text cut">{shortenText(pair.chosen_text)}</span>
      <span role="cell" class="pair-text cut">{shortenText(pair.rejected_text)}</span>
      <span role="cell" class="pair-delta number">{formatShort(difference(pair, "chosen"))}</span>
      <span role="cell" class="pair-delta number">{formatShort(difference(pair, "rejected"))}</span>
    </div>
  );
}

/** How much likelier the policy finds an answer than the reference does, in nats. */
export function difference(pair: ScoredPair, side: "chosen" | "rejected"): number | null {
  const [policy, reference] = [pair.logps[side], pair.ref?.[side]];
  return typeof policy === "number" && typeof reference === "number" ? policy - reference : null;
}

function MarginBar({ share }: { share: number }) {
  const length = Math.max(1.5, Math.abs(share) * 50);
  return (
    <svg class="margin-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <rect x={share < 0 ? 50 - length : 50} width={length} height="8" style={{ fill: `var(--${share < 0 ? "red" : "blue"})` }} />
    </svg>
  );
}
