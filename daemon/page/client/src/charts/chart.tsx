/**
 * Draws curves over steps. The only file that knows uPlot, which keeps first, smallest, largest and last of every pixel column.
 * It draws only while it is in view. In its data `undefined` is alignment and `null` a gap; in its options `undefined` overrides.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "../shell/theme";
import type { Curve, Values } from "./curves";
import { hovered } from "./cursor";
import type { Limits } from "./limits";
import { paintLevel, paintMarks, readPalette, type Palette } from "./paint";
import type { Panel } from "./panels";
import { bindTouch } from "./touch";
import { formatStep, formatTick, splitDecades } from "./ticks";

export interface Zoom {
  (from: number | null, to: number | null): void;
}

interface ChartProps {
  panel: Panel;
  curves: readonly Curve[];
  limits: Limits;
  range: { from: number | null; to: number | null };
  onZoom: Zoom;
  height?: number;
}

/** What the hooks of a plot read: always the newest properties. */
type Latest = { current: ChartProps };

const MIN_DRAG = 4;
const MANY_DOTS = 30;
const ONE_CURSOR = "steps";

export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest: Latest = useRef(props);
  const inView = useInView(host);
  const shape = describeShape(props, theme.value);
  latest.current = props;

  useEffect(() => {
    if (!inView || !host.current) return;
    const made = makePlot(host.current, latest, props.height ?? 180);
    plot.current = made;
    const resized = new ResizeObserver(([entry]) => made.setSize({ width: entry!.contentRect.width, height: props.height ?? 180 }));
    resized.observe(host.current);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [inView, shape]);

  useEffect(() => {
    plot.current?.setData(alignData(props.curves));
  }, [props.curves, props.limits, props.range.from, props.range.to]);

  return <div ref={host} class="plot" style={{ height: `${props.height ?? 180}px` }} role="img" aria-label={describe(props)} />;
}

function useInView(host: { current: Element | null }): boolean {
  const [inView, setInView] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => setInView(entry!.isIntersecting), { rootMargin: "200px" });
    if (host.current) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  return inView;
}

/** What a plot is made for: with another it is made anew. */
function describeShape({ panel, curves, height }: ChartProps, themeName: string): string {
  return JSON.stringify([themeName, panel.id, height, curves.map((each) => [each.color, each.evalColor, kindOf(each)])]);
}

function kindOf({ behind }: Curve): string {
  return behind === null ? "line" : "raw" in behind ? "raw" : "band";
}

function alignData(curves: readonly Curve[]): uPlot.AlignedData {
  const tables = curves.flatMap((curve): uPlot.AlignedData[] => {
    const behind = curve.behind === null ? [] : "raw" in curve.behind ? [curve.behind.raw] : [curve.behind.high, curve.behind.low];
    return [table(curve.steps, ...behind, curve.line), table(curve.evalSteps, curve.evalLine)];
  });
  return tables.length ? uPlot.join(tables) : [[]];
}

/** uPlot's types want arrays that may be changed; it does not change them. */
function table(steps: readonly number[], ...columns: Values[]): uPlot.AlignedData {
  return [steps, ...columns] as unknown as uPlot.AlignedData;
}

function makePlot(host: HTMLElement, latest: Latest, height: number): uPlot {
  const palette = readPalette(host);
  const { panel, curves } = latest.current;
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const curve of curves) {
    const color = palette.of(curve.color);
    if (curve.behind !== null && "raw" in curve.behind) series.push(line(`${color}55`, 1));
    else if (curve.behind !== null) {
      bands.push({ series: [series.length, series.length + 1], fill: `${color}38` });
      series.push(line("transparent", 0), line("transparent", 0));
    }
    series.push(line(color, 1.8), dots(palette.of(curve.evalColor), palette, curve.evalSteps.length > MANY_DOTS));
  }
  const options: uPlot.Options = {
    width: Math.max(host.clientWidth, 50),
    height,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: false, range: (_, low, high) => rangeOf(latest.current, low, high) },
      y: { distr: panel.log ? 3 : 1, range: () => [latest.current.limits.low, latest.current.limits.high] },
    },
    axes: [axis(palette, formatStep, { space: 70, size: 26 }), axis(palette, formatTick, { space: 30, size: 54, ...(panel.log && { splits: splitLog }) })],
    series,
    bands,
    cursor: makeCursor(latest),
    hooks: {
      drawAxes: [(plot) => paintLevel(plot, panel.level, palette)],
      draw: [(plot) => paintMarks(plot, latest.current.limits, latest.current.curves.flatMap((each) => each.bad), palette)],
      setCursor: [tellHovered],
      setSelect: [(plot) => zoomToSelection(plot, latest.current.onZoom)],
    },
  };
  const plot = new uPlot(options, alignData(curves), host);
  bindTouch(plot, (from, to) => latest.current.onZoom(from, to));
  return plot;
}

function line(stroke: string, width: number): uPlot.Series {
  return { stroke, width, points: { show: (plot, index) => countPoints(plot, index) < 2 } };
}

function countPoints(plot: uPlot, index: number): number {
  return Array.from(plot.data[index] ?? []).filter((value) => value !== null && value !== undefined).length;
}

function dots(stroke: string, palette: Palette, many: boolean): uPlot.Series {
  return { stroke, width: 1.2, dash: [3, 3], points: { show: true, size: many ? 3.5 : 6, width: many ? 1 : 1.5, stroke, fill: palette.of("card") } };
}

function splitLog(_: uPlot, _axis: number, low: number, high: number): number[] {
  return splitDecades(low, high);
}

function axis(palette: Palette, format: (value: number) => string, size: Pick<uPlot.Axis, "space" | "size" | "splits">): uPlot.Axis {
  const hair = { stroke: palette.line, width: 1 };
  const values = (_: uPlot, splits: (number | null)[]) => splits.map((value) => (value === null ? "" : format(value)));
  return { ...size, stroke: palette.soft, font: `11px ${palette.of("sans")}`, grid: hair, ticks: { show: false }, gap: 6, values };
}

function rangeOf({ range, curves }: ChartProps, low: number, high: number): [number, number] {
  const [from, to] = [range.from ?? low, range.to ?? high];
  if (!curves.length || !Number.isFinite(from) || !Number.isFinite(to)) return [0, 1];
  return from === to ? [from - 1, to + 1] : [from, to];
}

function makeCursor(latest: Latest): uPlot.Cursor {
  const moves = (type: string) => type !== "mousedown" && type !== "mouseup" && type !== "dblclick";
  return {
    y: false,
    points: { show: false },
    drag: { x: true, y: false, setScale: false },
    sync: { key: ONE_CURSOR, setSeries: false, filters: { pub: moves } },
    bind: {
      dblclick: () => () => {
        latest.current.onZoom(null, null);
        return null;
      },
    },
  };
}

function tellHovered(plot: uPlot): void {
  if (!plot.cursor.event) return; // another chart's cursor, which has told it
  const { left } = plot.cursor;
  hovered.value = left === undefined || left < 0 ? null : (plot.data[0][plot.cursor.idx ?? -1] ?? null);
}

function zoomToSelection(plot: uPlot, zoom: Zoom): void {
  const { left, width } = plot.select;
  if (width < MIN_DRAG) return;
  const from = Math.floor(plot.posToVal(left, "x"));
  const to = Math.ceil(plot.posToVal(left + width, "x"));
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  zoom(Math.max(from, 0), to);
}

function describe({ panel, curves }: ChartProps): string {
  return `${panel.title}, ${curves[0]?.steps.length ?? 0} points over steps`;
}
