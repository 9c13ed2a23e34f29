/** The rows as they would be tokenised: what is trained on, cut, held out and left out, and how long each part is. */
import type { Lengths, RowPart, RowsPage, ShownRow } from "../api/shapes";
import { Button } from "../parts/button";
import { Chips } from "../parts/chips";
import { Trouble } from "../parts/empty";
import { formatCount, pluralize, formatShort } from "../text/numbers";
import { PAGE_ROWS, rows, shown, valid, type Show } from "./verdict_store";

const CHOICES: readonly { value: Show; text: string }[] = [
  { value: "all", text: "all" },
  { value: "kept", text: "kept" },
  { value: "held_out", text: "held out" },
  { value: "cut", text: "cut" },
  { value: "dropped", text: "left out" },
];
const COLORS = { prompt: "grey", chosen: "blue", rejected: "orange" } as const;

export function Rows() {
  const page = rows.value?.value;
  const { show, offset } = shown.value;
  if (!page) return rows.value?.trouble ? <Trouble text={rows.value.trouble} /> : <p class="soft block-note">{valid.value ? "Reading the rows as the model will see them…" : "The rows are shown here when the spec is ready."}</p>;
  return (
    <div class="rows">
      <Trouble text={rows.value?.trouble ?? ""} />
      <Chips label="Which rows" options={countChoices(page)} value={show} onChange={(value) => (shown.value = { show: value, offset: 0 })} />
      <div class="lengths">
        {(["prompt", "chosen", "rejected"] as const).map((name) => page.lengths[name] && <Histogram key={name} name={name} lengths={page.lengths[name]} />)}
      </div>
      <ul class="report soft">
        {(page.report.lines ?? []).map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
      {page.rows.map((row) => (
        <RowCard key={row.place} row={row} />
      ))}
      {!page.rows.length && <p class="soft block-note">There are none.</p>}
      {page.total > PAGE_ROWS && (
        <div class="pages">
          <Button icon="up" disabled={offset === 0} onClick={() => (shown.value = { show, offset: Math.max(0, offset - PAGE_ROWS) })}>
            earlier
          </Button>
          <span class="number soft">
            {formatCount(offset + 1)} to {formatCount(Math.min(offset + PAGE_ROWS, page.total))} of {formatCount(page.total)}
          </span>
          <Button icon="down" disabled={offset + PAGE_ROWS >= page.total} onClick={() => (shown.value = { show, offset: offset + PAGE_ROWS })}>
            later
          </Button>
        </div>
      )}
    </div>
  );
}

/** The choices with their counts, where the report has them for what is listed. */
function countChoices({ report, total }: RowsPage): { value: Show; text: string; count?: number | undefined }[] {
  const { show } = shown.value;
  const counts: Partial<Record<Show, number>> = { kept: report.used + report.held_out, held_out: report.held_out };
  return CHOICES.map((each) => ({ ...each, count: each.value === show ? total : counts[each.value] }));
}

function RowCard({ row }: { row: ShownRow }) {
  return (
    <article class="card row" aria-label={row.place}>
      <header>
        {row.place}
        {row.held_out && <span class="tag">held out</span>}
        {row.cut && <span class="tag amber">cut</span>}
        {row.drop && <span class="tag bad">left out</span>}
      </header>
      {row.drop && <p>{row.drop}</p>}
      {(row.remarks ?? []).map((remark) => (
        <p key={remark} class="amber">
          {remark}
        </p>
      ))}
      {row.prompt && <Tokens part={row.prompt} />}
      {row.chosen && row.rejected && (
        <div class="sides">
          <Tokens part={row.chosen} side="chosen" />
          <Tokens part={row.rejected} side="rejected" />
        </div>
      )}
    </article>
  );
}

/** A text decoded from its tokens; what is no text, such as the end of a turn, is set off. */
function Tokens({ part, side }: { part: RowPart; side?: "chosen" | "rejected" }) {
  const pieces = [];
  let done = 0;
  for (const [begin, end] of part.special ?? []) {
    pieces.push(part.text.slice(done, begin), <i key={begin}>{part.text.slice(begin, end)}</i>);
    done = end;
  }
  pieces.push(part.text.slice(done));
  return (
    <div class={`tokens ${side ?? "prompt"}`}>
      {side && <span class="hidden-label">{side}: </span>}
      <span class="tokens-text">{pieces}</span> <span class="faint number">{pluralize(part.tokens, "token")}</span>
      {Boolean(part.cut) && <span class="amber"> {formatCount(part.cut ?? 0)} cut</span>}
    </div>
  );
}

const BAR = 10;
const TALL = 32;

function Histogram({ name, lengths }: { name: keyof typeof COLORS; lengths: Lengths }) {
  const most = Math.max(1, ...lengths.counts);
  const label = `${name}: ${formatShort(lengths.mean)} tokens on average, at most ${formatCount(lengths.max)}`;
  return (
    <figure>
      <figcaption>
        {name} <b class="number">{formatShort(lengths.mean)}</b> tokens, at most {formatCount(lengths.max)}
      </figcaption>
      <svg viewBox={`0 0 ${lengths.counts.length * BAR} ${TALL}`} preserveAspectRatio="none" role="img" aria-label={label}>
        {lengths.counts.map((count, index) => {
          const height = count ? Math.max(1.5, (count / most) * TALL) : 0;
          return <rect key={index} class={COLORS[name]} x={index * BAR + 0.7} width={BAR - 1.4} y={TALL - height} height={height} />;
        })}
      </svg>
    </figure>
  );
}
