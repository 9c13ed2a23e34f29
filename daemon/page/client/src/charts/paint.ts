/** Draws on a chart what is no line: the level before learning, ▲ and ▼ at the edge for spikes, and red marks where nothing was finite. */
import type { Limits } from "./limits";
import type { Plot } from "./plot";

export interface Palette {
  ink: string;
  soft: string;
  line: string;
  amber: string;
  red: string;
  of: (color: string) => string;
}

/** Reads the colours that the theme has now, for the canvas knows no stylesheet. */
export function readPalette(element: Element): Palette {
  const style = getComputedStyle(element);
  const of = (color: string) => style.getPropertyValue(`--${color}`).trim();
  return { ink: of("ink"), soft: of("soft"), line: of("line"), amber: of("amber"), red: of("red"), of };
}

const SIZE = 5;

export function paintLevel(plot: Plot, level: number | undefined, palette: Palette): void {
  const [low, high] = [plot.scales["y"]?.min ?? 0, plot.scales["y"]?.max ?? 0];
  if (level === undefined || level < low || level > high) return;
  const { ctx, bbox } = plot;
  const across = Math.round(plot.valToPos(level, "y", true)) + 0.5;
  ctx.save();
  ctx.strokeStyle = palette.soft;
  ctx.globalAlpha = 0.6;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, across);
  ctx.lineTo(bbox.left + bbox.width, across);
  ctx.stroke();
  ctx.restore();
}

export function paintMarks(plot: Plot, limits: Limits, bad: readonly number[], palette: Palette): void {
  const { ctx, bbox } = plot;
  const [top, bottom] = [bbox.top, bbox.top + bbox.height];
  const size = SIZE * devicePixelRatio;
  ctx.save();
  ctx.fillStyle = palette.amber;
  for (const x of placesOf(plot, limits.above.map((each) => each.step))) triangle(ctx, x, top, size, true);
  for (const x of placesOf(plot, limits.below.map((each) => each.step))) triangle(ctx, x, bottom, size, false);
  ctx.fillStyle = ctx.strokeStyle = palette.red;
  ctx.lineWidth = devicePixelRatio;
  for (const x of placesOf(plot, bad)) {
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, bottom);
    ctx.stroke();
    triangle(ctx, x, top + size * 1.6, size, false);
  }
  ctx.restore();
}

/** The pixels of steps that are in view, each once. */
function placesOf(plot: Plot, steps: readonly number[]): Set<number> {
  const { left, width } = plot.bbox;
  const places = steps.map((step) => Math.round(plot.valToPos(step, "x", true)));
  return new Set(places.filter((x) => x >= left && x <= left + width));
}

function triangle(ctx: CanvasRenderingContext2D, x: number, tip: number, size: number, up: boolean): void {
  const base = up ? tip + size * 1.6 : tip - size * 1.6;
  ctx.beginPath();
  ctx.moveTo(x, tip);
  ctx.lineTo(x - size, base);
  ctx.lineTo(x + size, base);
  ctx.fill();
}
