/** Finds the range of a chart's values: a spike does not flatten the curve, it is told and stands at the edge. */
import type { Curve, Values } from "./curves";
import type { Panel } from "./panels";

export interface Spike {
  step: number;
  value: number;
}

export interface Limits {
  low: number;
  high: number;
  above: readonly Spike[];
  below: readonly Spike[];
}

/** How far beyond the 1–99 % range a value still belongs to the scale, in lengths of that range. */
const REACH = 1.5;
/** Of fewer values none is a spike. */
const FEWEST = 20;
const MARGIN = 0.06;
/** The least length of a scale, in shares of its largest value: what moves less is drawn as what hardly moves. */
const LEAST = { exact: 0.02, measured: 2e-4 };

export function findLimits(curves: readonly Curve[], panel: Panel): Limits {
  if (panel.limits) return { low: panel.limits[0], high: panel.limits[1], above: [], below: [] };
  const columns = curves.flatMap(columnsOf);
  const values = columns.flatMap(finite).filter((value) => !panel.log || value > 0);
  if (!values.length) return { low: 0, high: 1, above: [], below: [] };
  if (panel.log) return { ...roundDecades(values), above: [], below: [] };
  const [floor, ceiling] = panel.exact ? [-Infinity, Infinity] : findFences(values);
  const inside = [...values.filter((value) => value >= floor && value <= ceiling), ...curves.flatMap((curve) => finite(curve.evalLine))];
  if (panel.level !== undefined) inside.push(panel.level);
  const [low, high] = pad(inside, panel.exact ? LEAST.exact : LEAST.measured);
  const points = curves.flatMap((curve) => columnsOf(curve).map((column) => ({ steps: curve.steps, column })));
  return { low, high, above: findSpikes(points, (value) => value > ceiling), below: findSpikes(points, (value) => value < floor) };
}

function columnsOf(curve: Curve): Values[] {
  if (curve.behind === null) return [curve.line];
  return "raw" in curve.behind ? [curve.behind.raw] : [curve.behind.low, curve.behind.high];
}

function finite(values: Values): number[] {
  return values.filter((value): value is number => typeof value === "number" && Number.isFinite(value));
}

function findFences(values: readonly number[]): [number, number] {
  if (values.length < FEWEST) return [-Infinity, Infinity];
  const sorted = [...values].sort((a, b) => a - b);
  const cut = Math.max(2, Math.round(0.01 * (sorted.length - 1)));
  const [low, high] = [sorted[cut]!, sorted[sorted.length - 1 - cut]!];
  const range = high - low;
  return range === 0 ? [-Infinity, Infinity] : [low - REACH * range, high + REACH * range];
}

function findSpikes(points: readonly { steps: readonly number[]; column: Values }[], outside: (value: number) => boolean): Spike[] {
  const found = new Map<number, number>();
  for (const { steps, column } of points)
    column.forEach((value, index) => {
      if (value !== null && outside(value)) found.set(steps[index]!, value);
    });
  return [...found].map(([step, value]) => ({ step, value })).sort((a, b) => a.step - b.step);
}

function pad(values: readonly number[], least: number): [number, number] {
  const [low, high] = extent(values);
  if (low === high) return frameConstant(low);
  const lacking = least * Math.max(Math.abs(low), Math.abs(high)) - (high - low);
  const room = lacking > 0 ? lacking / 2 : (high - low) * MARGIN;
  return [low - room, high + room];
}

/** The range of a value that never moves: from zero, so that it is seen as what it is and not as noise. */
function frameConstant(value: number): [number, number] {
  if (value === 0) return [-1, 1];
  return value > 0 ? [0, value * 1.5] : [value * 1.5, 0];
}

function roundDecades(values: readonly number[]): { low: number; high: number } {
  const [low, high] = extent(values);
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  return { low: 10 ** from, high: 10 ** (to === from ? to + 1 : to) };
}

function extent(values: readonly number[]): [number, number] {
  return values.reduce<[number, number]>(([min, max], value) => [Math.min(min, value), Math.max(max, value)], [Infinity, -Infinity]);
}
