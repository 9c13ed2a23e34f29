/** Fingers on a plot: one that is drawn over it takes the steps between, two zoom. Up and down the page is scrolled as everywhere. */
import type { Zoom } from "./chart";
import type { Plot } from "./plot";

interface Finger {
  start: number;
  now: number;
}

const MIN_DRAG = 12;

/** Listens on a plot until it goes; `zoom` is called when the fingers are lifted. */
export function bindTouch(plot: Plot, zoom: Zoom): void {
  const fingers = new Map<number, Finger>();
  let range: [number, number] | null = null;
  const { over } = plot;
  const place = (event: PointerEvent) => event.clientX - over.getBoundingClientRect().left;

  const begin = (event: PointerEvent) => {
    if (event.pointerType === "mouse" || fingers.size > 1) return;
    const at = place(event);
    fingers.set(event.pointerId, { start: at, now: at });
    for (const each of fingers.values()) each.start = each.now;
  };
  const move = (event: PointerEvent) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    finger.now = place(event);
    range = findRange(plot, [...fingers.values()]);
    showRange(plot, range);
  };
  const end = (event: PointerEvent) => {
    if (!fingers.delete(event.pointerId)) return;
    fingers.clear(); // the other finger of two that is still there draws nothing by itself
    showRange(plot, null);
    if (range && event.type === "pointerup") zoom(...range);
    range = null;
  };
  over.addEventListener("pointerdown", begin);
  over.addEventListener("pointermove", move);
  over.addEventListener("pointerup", end);
  over.addEventListener("pointercancel", end);
}

/** Finds the steps that are asked for: those between where one finger was set down and where it is; under two fingers, the steps stay where they were. */
function findRange(plot: Plot, [first, second]: Finger[]): [number, number] | null {
  if (!first) return null;
  const step = (at: number) => plot.posToVal(at, "x");
  if (!second) {
    if (Math.abs(first.now - first.start) < MIN_DRAG) return null;
    const [left, right] = [Math.min(first.start, first.now), Math.max(first.start, first.now)];
    return [step(left), step(right)];
  }
  const apart = second.now - first.now;
  if (Math.abs(apart) < MIN_DRAG) return null;
  const steps = (step(second.start) - step(first.start)) / apart;
  if (steps <= 0) return null;
  const from = step(first.start) - first.now * steps;
  return [from, from + plot.over.clientWidth * steps];
}

function showRange(plot: Plot, range: [number, number] | null): void {
  const width = plot.over.clientWidth;
  const [left, right] = (range ?? [0, 0]).map((each) => Math.max(0, Math.min(plot.valToPos(each, "x"), width))) as [number, number];
  plot.setSelect({ left, width: range ? right - left : 0, top: 0, height: range ? plot.over.clientHeight : 0 }, false);
}
