/** Writes the numbers beside an axis, shortly. */

/** Formats a step: 400, 20k, 1.5M. */
export function formatStep(value: number): string {
  if (!Number.isInteger(value)) return "";
  if (Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(6))}M`;
  if (Math.abs(value) >= 10_000) return `${Number((value / 1e3).toPrecision(6))}k`;
  return String(value);
}

/** Formats a value: 0.25, −120, 1e−5. */
export function formatTick(value: number): string {
  const rounded = Number(value.toPrecision(5));
  if (Math.abs(rounded) >= 10_000 && rounded % 100 === 0) return formatStep(rounded).replace(/^-/, "−");
  const magnitude = Math.abs(rounded);
  const text = magnitude !== 0 && (magnitude < 1e-4 || magnitude >= 1e6) ? rounded.toExponential().replace("e+", "e").replace("e-", "e−") : String(rounded);
  return text.replace(/^-/, "−");
}

const MOST_DECADES = 6;

/** The marks of a logarithmic axis: its decades, with 2 and 5 between where there is but one, and only some of many. */
export function splitDecades(low: number, high: number): number[] {
  const [from, to] = [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  const step = Math.ceil((to - from) / MOST_DECADES) || 1;
  const between = to - from === 1 ? [1, 2, 5] : [1];
  const marks: number[] = [];
  for (let decade = from; decade <= to; decade += step) marks.push(...between.map((factor) => Number((factor * 10 ** decade).toPrecision(3))));
  return marks.filter((mark) => mark <= high * 1.001);
}
