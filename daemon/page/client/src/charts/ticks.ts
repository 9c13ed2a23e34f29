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
  const text = magnitude !== 0 && (magnitude < 1e-3 || magnitude >= 1e6) ? rounded.toExponential().replace("e+", "e").replace("e-", "e−") : String(rounded);
  return text.replace(/^-/, "−");
}
