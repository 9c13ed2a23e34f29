/** The numbers that matter of a run, the held-out pairs' first and training's beside them. */
import { EVAL, type JobDocument } from "../api/shapes";
import { METRICS } from "../charts/panels";
import type { Newest, Row } from "../stores/run";
import { formatCount, formatNumber, formatRound, formatShare, formatShort, formatSize } from "../text/numbers";
import { isClients } from "./spec";

interface Tile {
  name: string;
  value: string;
  note: string;
  good?: boolean;
}

export function Tiles({ run, newest }: { run: JobDocument; newest: Newest }) {
  return (
    <dl class="tiles">
      {listTiles(run, newest).map((tile) => (
        <div key={tile.name} class="card tile">
          <dt class="soft">{tile.name}</dt>
          <dd class={`number ${tile.good ? "good" : ""}`}>{tile.value}</dd>
          <dd class="soft note number">{tile.note}</dd>
        </div>
      ))}
    </dl>
  );
}

function listTiles(run: JobDocument, newest: Newest): Tile[] {
  const held = (key: string) => readValue(newest.held, EVAL + key);
  const train = (key: string) => readValue(newest.train, key);
  const ofClient = isClients(run.spec);
  const [step, epoch, tokens] = [train("step"), train("epoch"), train("num_tokens")];
  const accuracy = held(METRICS.accuracy);
  const memory = train("peak_memory_gb");
  const none = explainNoHeldOut(run);
  const beside = (key: string, format: (value: number | null) => string) => (newest.held === null ? none : `train ${format(train(key))}`);
  const heldOut: Tile[] = ofClient ? [] : [
    { name: "Held-out accuracy", value: formatShare(accuracy), note: beside(METRICS.accuracy, formatShare), good: accuracy !== null && accuracy > 0.5 },
    { name: "Held-out margin", value: formatShort(held(METRICS.margin)), note: beside(METRICS.margin, formatShort) },
    { name: "Held-out loss", value: formatNumber(held(METRICS.loss)), note: beside(METRICS.loss, formatNumber) },
  ];
  const loss: Tile[] = ofClient ? [{ name: "Loss", value: formatNumber(train(METRICS.loss)), note: "as the client has it" }] : [];
  return [
    ...heldOut,
    ...loss,
    { name: "Step", value: step === null ? "–" : formatCount(step), note: epoch === null ? "" : `epoch ${formatShort(epoch)}` },
    { name: "Speed", value: formatShort(roundSpeed(train("tokens_per_second"))), note: tokens === null ? "tokens a second" : `tokens/s, ${formatRound(tokens)} so far` },
    { name: "Peak memory", value: memory === null ? "–" : formatSize(memory * 1e9), note: "of MLX" },
    ...(ofClient ? [] : [describeReference(run)]),
  ];
}

/** Why there is no held-out number: no pair is set apart, or none has been evaluated. */
function explainNoHeldOut(run: JobDocument): string {
  const data = (run.precompute?.summary ?? run.training?.summary)?.["data"] as { held_out?: number } | null | undefined;
  if (data?.held_out === 0) return "no pair is held out";
  return run.training ? "not evaluated" : "not yet";
}

function readValue(row: Row | null, key: string): number | null {
  const value = row?.[key];
  return typeof value === "number" ? value : null;
}

function roundSpeed(speed: number | null): number | null {
  return speed === null ? null : speed >= 100 ? Math.round(speed) : speed;
}

function describeReference(run: JobDocument): Tile {
  const summary = run.precompute?.summary as { completions?: number; cached?: number } | undefined;
  if (summary?.completions) return { name: "Reference", value: `${formatCount(summary.cached ?? 0)}/${formatCount(summary.completions)}`, note: "from the cache" };
  const needless = run.training !== null || run.history.some((line) => line.state === "training");
  return { name: "Reference", value: needless ? "none" : "–", note: needless ? "the loss does without" : "not scored yet" };
}
