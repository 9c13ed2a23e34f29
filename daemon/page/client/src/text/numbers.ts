/** Writes numbers as the commands do (`format_number`, `format_size`), with a real minus sign. */

const MINUS = "−";

/** Formats a metric: 0.6931, −123.4, 1.00e−5; an en dash for none. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value).replace("-", MINUS);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return withMinus(value.toLocaleString("en"));
  const magnitude = Math.abs(value);
  if (magnitude < 1e-3) return withMinus(trimExponent(value.toExponential(2)));
  if (magnitude >= 1e6) return withMinus(trimExponent(value.toExponential(3)));
  return withMinus(magnitude >= 1e4 ? Math.round(value).toLocaleString("en") : trimZeros(value.toPrecision(4)));
}

/** Formats a number shortly, for a tile or a list: three significant digits. */
export function formatShort(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value) || Number.isInteger(value)) return formatNumber(value);
  const magnitude = Math.abs(value);
  if (magnitude < 1e-3 || magnitude >= 1e6) return formatNumber(value);
  return magnitude >= 1000 ? withMinus(Math.round(value).toLocaleString("en")) : withMinus(trimZeros(value.toPrecision(3)));
}

/** Formats a share as percent: 73.9 %, 100 %. */
export function formatShare(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const percent = value * 100;
  return `${percent === 0 || percent >= 99.95 ? Math.round(percent) : trimZeros(percent.toPrecision(3))} %`;
}

/** Formats a count: 100,000. */
export function formatCount(value: number): string {
  return value.toLocaleString("en");
}

/** Formats a count roughly: 950, 12.3k, 4.56M. */
export function formatRound(value: number): string {
  if (value < 1000) return formatCount(value);
  return value < 999_500 ? `${digits(value / 1e3)}k` : `${digits(value / 1e6)}M`;
}

/** Formats bytes: 0 B, 12.3 kB, 4.56 GB (powers of 1000, as disks are sold). */
export function formatSize(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return "–";
  let count = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (Math.abs(count) < 999.5) return unit === "B" ? `${count.toFixed(0)} B` : `${digits(count)} ${unit}`;
    count /= 1000;
  }
  return `${digits(count)} TB`;
}

/** `1 step`, `2 steps`. */
export function pluralize(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function digits(count: number): string {
  return String(Number(count.toPrecision(3)));
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function trimExponent(text: string): string {
  return text.replace(/\.?0*e/, "e").replace("e+", "e").replace("e-", `e${MINUS}`);
}

function withMinus(text: string): string {
  return text.replace(/^-/, MINUS);
}
