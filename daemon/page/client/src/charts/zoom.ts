/** The part of a run's steps that is shown, and how keys, buttons and fingers change it. */

import type { Series } from "../api/shapes";

/** The first step and the last. */
export type View = readonly [number, number];

/** The steps that a series holds, its last point standing for a bucket of them; null where it holds none. */
export function spanSeries(series: Series | null): View | null {
  const last = series?.step.at(-1);
  return series && last !== undefined ? [series.step[0]!, last + series.bucket - 1] : null;
}

const FEWEST_STEPS = 2;

/** Scales what is shown around a step, its middle by default: 0.5 shows half as much. Null stands for all steps. */
export function scaleView(view: View, factor: number, whole: View | null, center = (view[0] + view[1]) / 2): View | null {
  if (!whole && factor > 1) return null;
  return settleView([center - (center - view[0]) * factor, center + (view[1] - center) * factor], whole);
}

/** Moves what is shown by a share of its length, and no further than there are steps. */
export function shiftView(view: View, share: number, whole: View | null): View | null {
  const length = view[1] - view[0];
  const from = Math.min(view[0] + share * length, (whole?.[1] ?? Infinity) - length);
  const first = Math.max(from, whole?.[0] ?? 0);
  return settleView([first, first + length], whole);
}

/** Makes whole steps of a range, at least two, of those that there are. Null where that is all of them. */
export function settleView(view: View, whole: View | null): View | null {
  const [low, high] = whole ?? [0, Infinity];
  const from = Math.max(low, Math.min(Math.floor(view[0]), high - FEWEST_STEPS + 1));
  const to = Math.min(high, Math.max(Math.ceil(view[1]), from + FEWEST_STEPS - 1));
  return whole && from <= low && to >= high ? null : [from, to];
}
