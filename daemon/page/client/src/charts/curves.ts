/** Makes the curves of a chart from a job's columns: the smoothed line, what lies behind it, and the held-out dots. */
import { EVAL, type Series, type Values } from "../api/shapes";
import type { Color, Panel, PanelLine } from "./panels";

export type { Values };

export interface Curve {
  label: string;
  color: Color;
  steps: readonly number[];
  /** The line: the running mean where it is smoothed. */
  line: Values;
  /** The values themselves, pale behind a smoothed line; where a point stands for many steps, their extremes. */
  behind: { raw: Values } | { low: Values; high: Values } | null;
  evalColor: Color;
  evalSteps: readonly number[];
  evalLine: Values;
  /** The steps whose value is not finite. */
  bad: readonly number[];
}

/** With fewer points nothing is smoothed, as in `prefd metrics --plot`. */
const SMOOTH_FROM = 60;
/** The smoothing that `prefd metrics --plot` has: a thirtieth of the points on each side. */
export const USUAL_SMOOTHING = 4;
export const MOST_SMOOTHING = 20;
const REACH_OF_ONE = 120;

export function makeCurves(series: Series, panel: Panel, smoothing: number, behind = true): Curve[] {
  return panel.lines
    .filter((line) => line.key in series.metrics || EVAL + line.key in series.eval.metrics)
    .map((line) => makeCurve(series, panel, line, smoothing, behind));
}

function makeCurve(series: Series, panel: Panel, line: PanelLine, smoothing: number, behind: boolean): Curve {
  const column = series.metrics[line.key];
  const mean = column?.mean ?? [];
  const reach = panel.exact || mean.length <= SMOOTH_FROM ? 0 : Math.floor((mean.length * smoothing) / REACH_OF_ONE);
  const hasBand = column?.min && column.max && !panel.exact;
  const raw = reach ? { raw: mean } : null;
  return {
    label: line.label,
    color: line.color,
    steps: series.step,
    line: reach ? smooth(mean, reach) : mean,
    behind: !behind ? null : hasBand ? { low: column.min!, high: column.max! } : raw,
    evalColor: line.evalColor,
    evalSteps: series.eval.step,
    evalLine: series.eval.metrics[EVAL + line.key]?.mean ?? [],
    bad: [...(series.bad[line.key] ?? []), ...(series.eval.bad[EVAL + line.key] ?? [])],
  };
}

/** The mean of up to `reach` values on each side of each value, which does not tend to the first one. A gap stays a gap. */
export function smooth(values: Values, reach: number): (number | null)[] {
  const sums = [0];
  const counts = [0];
  for (const value of values) {
    sums.push(sums.at(-1)! + (value ?? 0));
    counts.push(counts.at(-1)! + (value === null ? 0 : 1));
  }
  return values.map((value, index) => {
    const start = Math.max(0, index - reach);
    const end = Math.min(values.length, index + reach + 1);
    return value === null ? null : (sums[end]! - sums[start]!) / (counts[end]! - counts[start]!);
  });
}

/** The value at a step, or the last one before it; null where there is none. */
export function valueAt(steps: readonly number[], values: Values, step: number): number | null {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle]! <= step) low = middle + 1;
    else high = middle;
  }
  for (let index = low - 1; index >= 0; index--) {
    const value = values[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** The last value that there is. */
export function lastOf(values: Values): number | null {
  return values.findLast((value) => value !== null && value !== undefined) ?? null;
}
