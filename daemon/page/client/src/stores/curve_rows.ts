/** Adds rows that events have brought to the columns of a series: each is a point of its own, whatever a bucket holds before it. */
import { isEvaluation, type Curves, type MetricCurve, type MetricsEvent, type Series } from "../api/shapes";

type Row = MetricsEvent["values"];
type Column = (number | null)[];

const NO_METRICS = new Set(["step", "epoch", "time"]);

export function addRows(series: Series, rows: readonly Row[]): Series {
  const grown = { ...series, ...copy(series), eval: copy(series.eval) };
  for (const row of rows) add(isEvaluation(row) ? grown.eval : grown, row);
  return grown;
}

function copy(curves: Curves): Curves {
  const metrics: Record<string, MetricCurve> = {};
  for (const [key, { mean, min, max }] of Object.entries(curves.metrics))
    metrics[key] = { mean: [...mean], min: min ? [...min] : null, max: max ? [...max] : null };
  const bad = Object.fromEntries(Object.entries(curves.bad).map(([key, steps]) => [key, [...steps]]));
  const times = { epoch: curves.epoch ? [...curves.epoch] : null, time: curves.time ? [...curves.time] : null };
  return { rows: curves.rows, bucket: curves.bucket, step: [...curves.step], ...times, metrics, bad };
}

function add(curves: Curves, row: Row): void {
  const step = Number(row["step"] ?? 0);
  if (step <= (curves.step.at(-1) ?? -1)) return;
  const index = curves.step.push(step) - 1;
  curves.rows += 1;
  for (const [key, value] of Object.entries(row)) {
    if (NO_METRICS.has(key)) continue;
    const number = typeof value === "number" ? value : null;
    for (const values of columnsOf((curves.metrics[key] ??= { mean: [], min: null, max: null }))) put(values, index, number);
    if (number === null) (curves.bad[key] ??= []).push(step);
  }
  for (const column of Object.values(curves.metrics)) for (const values of columnsOf(column)) fill(values, index + 1);
  put((curves.epoch ??= []), index, readNumber(row["epoch"]));
  put((curves.time ??= []), index, readNumber(row["time"]));
}

function columnsOf({ mean, min, max }: MetricCurve): Column[] {
  return [mean, min, max].filter((each): each is Column => Boolean(each));
}

function put(values: Column, index: number, value: number | null): void {
  fill(values, index);
  values[index] = value;
}

function fill(values: Column, length: number): void {
  while (values.length < length) values.push(null);
}

function readNumber(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}
