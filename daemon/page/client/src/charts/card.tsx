/** One chart with its head: what it shows, the values under the cursor, and what must not be overlooked. */
import { useMemo } from "preact/hooks";
import { formatNumber, pluralize } from "../text/numbers";
import { Chart, type Zoom } from "./chart";
import { lastOf, valueAt, type Curve } from "./curves";
import { hovered } from "./cursor";
import { findLimits, type Limits, type Spike } from "./limits";
import type { Panel } from "./panels";

interface CardProps {
  panel: Panel;
  curves: readonly Curve[];
  range: { from: number | null; to: number | null };
  onZoom: Zoom;
}

const MOST_BAD = 3;

export function ChartCard({ panel, curves, range, onZoom }: CardProps) {
  const limits = useMemo(() => findLimits(curves, panel), [curves, panel]);
  return (
    <section class="card chart">
      <div class="chart-head">
        <h2>{panel.title}</h2>
        <Under unit={panel.unit} />
        <div class="legend number">
          {curves.map((curve) => (
            <Values key={curve.label} curve={curve} />
          ))}
        </div>
      </div>
      <Notes limits={limits} curves={curves} />
      <Chart panel={panel} curves={curves} limits={limits} range={range} onZoom={onZoom} />
    </section>
  );
}

/** The unit, or the step under the cursor. */
function Under({ unit }: { unit: string }) {
  return <span class="soft unit number">{hovered.value === null ? unit : `step ${hovered.value.toLocaleString("en")}`}</span>;
}

function Values({ curve }: { curve: Curve }) {
  const step = hovered.value;
  const train = step === null ? lastOf(curve.line) : valueAt(curve.steps, curve.line, step);
  const held = step === null ? lastOf(curve.evalLine) : valueAt(curve.evalSteps, curve.evalLine, step);
  return (
    <span class="values">
      {curve.line.length > 0 && (
        <span class="value">
          <i class="dash" style={{ background: `var(--${curve.color})` }} />
          <span class="soft">{curve.label}</span> <b>{formatNumber(train)}</b>
        </span>
      )}
      {curve.evalLine.length > 0 && (
        <span class="value">
          <i class="ring" style={{ borderColor: `var(--${curve.evalColor})` }} />
          <span class={curve.label === "train" ? "soft" : "hidden-label"}>held out</span> <b>{formatNumber(held)}</b>
        </span>
      )}
    </span>
  );
}

function Notes({ limits, curves }: { limits: Limits; curves: readonly Curve[] }) {
  const bad = [...new Set(curves.flatMap((curve) => curve.bad))].sort((a, b) => a - b);
  if (!bad.length && !limits.above.length && !limits.below.length) return null;
  return (
    <p class="chart-notes number">
      {limits.above.length > 0 && <span class="amber">▲ {tellSpikes(limits.above, Math.max, "to")}</span>}
      {limits.below.length > 0 && <span class="amber">▼ {tellSpikes(limits.below, Math.min, "down to")}</span>}
      {bad.length > 0 && <span class="bad">▼ {tellBad(bad)}</span>}
    </p>
  );
}

function tellSpikes(spikes: readonly Spike[], pick: (...values: number[]) => number, word: string): string {
  return `${pluralize(spikes.length, "spike")} ${word} ${formatNumber(spikes.map((each) => each.value).reduce((a, b) => pick(a, b)))}`;
}

function tellBad(steps: readonly number[]): string {
  const more = steps.length - MOST_BAD;
  return `not finite at step ${steps.slice(0, MOST_BAD).join(", ")}${more > 0 ? ` and ${more.toLocaleString("en")} more` : ""}`;
}
