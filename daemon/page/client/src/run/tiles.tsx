/** The numbers that matter of a run, the held-out pairs' first and training's beside them. */
import { EVAL, type JobDocument, type Series } from "../api/shapes";
import { lastOf } from "../charts/curves";
import { METRICS } from "../charts/panels";
import { formatCount, formatNumber, formatShare, formatShort, formatSize } from "../text/numbers";

interface Tile {
  name: string;
  value: string;
  note: string;
  good?: boolean;
}

type Numbers = Record<string, number | null>;

export function Tiles({ run, series }: { run: JobDocument; series: Series | null }) {
  return (
    <dl class="tiles">
      {listTiles(run, series).map((tile) => (
        <div key={tile.name} class="card tile">
          <dt class="soft">{tile.name}</dt>
          <dd class={`number ${tile.good ? "good" : ""}`}>{tile.value}</dd>
          <dd class="soft note number">{tile.note}</dd>
        </div>
      ))}
    </dl>
  );
}

function listTiles(run: JobDocument, series: Series | null): Tile[] {
  const summary = (run.training?.summary ?? {}) as { eval?: Numbers | null; last?: Numbers | null };
  const held = (key: string) => lastOf(series?.eval.metrics[EVAL + key]?.mean ?? []) ?? summary.eval?.[EVAL + key] ?? summary.eval?.[key] ?? null;
  const train = (key: string) => lastOf(series?.metrics[key]?.mean ?? []) ?? summary.last?.[key] ?? null;
  const step = series?.step.at(-1) ?? summary.last?.["step"] ?? null;
  const epoch = lastOf(series?.epoch ?? []) ?? summary.last?.["epoch"] ?? null;
  const accuracy = held(METRICS.accuracy);
  const memory = train("peak_memory_gb");
  const none = run.training || series?.rows ? "no pair is held out" : "not yet";
  const beside = (key: string, format: (value: number | null) => string) => (held(key) === null ? none : `train ${format(train(key))}`);
  return [
    { name: "Held-out accuracy", value: formatShare(accuracy), note: beside(METRICS.accuracy, formatShare), good: accuracy !== null && accuracy > 0.5 },
    { name: "Held-out margin", value: formatShort(held(METRICS.margin)), note: beside(METRICS.margin, formatShort) },
    { name: "Held-out loss", value: formatNumber(held(METRICS.loss)), note: beside(METRICS.loss, formatNumber) },
    { name: "Step", value: step === null ? "–" : formatCount(step), note: epoch === null ? "" : `epoch ${formatShort(epoch)}` },
    { name: "Speed", value: formatShort(roundSpeed(train("tokens_per_second"))), note: "tokens a second" },
    { name: "Peak memory", value: memory === null ? "–" : formatSize(memory * 1e9), note: "of MLX" },
    describeReference(run),
  ];
}

function roundSpeed(speed: number | null): number | null {
  return speed === null ? null : speed >= 100 ? Math.round(speed) : speed;
}

function describeReference(run: JobDocument): Tile {
  const summary = run.precompute?.summary as { completions?: number; cached?: number } | undefined;
  if (summary?.completions) return { name: "Reference", value: `${formatCount(summary.cached ?? 0)}/${formatCount(summary.completions)}`, note: "answers from the cache" };
  const needless = run.training !== null || run.history.some((line) => line.state === "training");
  return { name: "Reference", value: needless ? "none" : "–", note: needless ? "the loss does without" : "not scored yet" };
}
