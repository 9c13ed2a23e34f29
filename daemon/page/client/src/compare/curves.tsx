/** The curves of several jobs over one another: a chart for each line of the charts that a single job has. */
import { useEffect, useMemo } from "preact/hooks";
import { readNumber, useAddress } from "../address";
import { ChartCard } from "../charts/card";
import { makeCurves, type Curve } from "../charts/curves";
import { choosePanels, type Panel, type PanelLine } from "../charts/panels";
import { spanSeries, type View } from "../charts/zoom";
import { useZoom, useZoomKeys, ZoomTools } from "../charts/zoom_tools";
import { followSeries } from "../stores/series";
import { useSmoothing } from "../run/charts_tab";
import type { Series } from "../api/shapes";
import { JOB_COLORS } from "./colors";

const POINTS = 500;
/** What two jobs are compared by; the others are a click on a job away. */
const SHOWN = new Set(["loss", "accuracy", "margin", "rewards", "logps", "grad_norm", "learning_rate"]);

export function CompareCurves({ ids }: { ids: readonly number[] }) {
  const { query } = useAddress();
  const [smoothing] = useSmoothing();
  const [from, to] = [readNumber(query["from"]), readNumber(query["to"])];
  const key = ids.join(",");
  const followed = useMemo(() => ids.map((id) => ({ id, curves: followSeries(id, POINTS, { from, to }) })), [key]);
  useEffect(() => () => followed.forEach(({ curves }) => curves.end()), [followed]);
  useEffect(() => followed.forEach(({ curves }) => curves.zoom({ from, to })), [followed, from, to]);
  const found = followed.map(({ id, curves }) => ({ id, series: curves.series.value }));
  const charts = useMemo(() => overlay(found, smoothing), [key, smoothing, ...found.map((each) => each.series)]);
  const whole = spanSteps(followed.map(({ curves }) => curves.whole.value));
  const seen = spanSteps(found.map(({ series }) => spanSeries(series)));
  const zooming = useZoom(whole, seen);
  useZoomKeys(zooming);
  return (
    <>
      <p class="zoom-row always">
        <ZoomTools zooming={zooming} />
      </p>
      <div class="charts">
        {charts.map(({ panel, curves }) => (
          <ChartCard key={panel.id} panel={panel} curves={curves} range={zooming.range} onZoom={zooming.zoom} />
        ))}
      </div>
    </>
  );
}

/** The steps that any of several jobs has; null while one of them is not known. */
function spanSteps(views: readonly (View | null)[]): View | null {
  const known = views.filter((each): each is View => each !== null);
  if (!known.length || known.length < views.length) return null;
  return [Math.min(...known.map((each) => each[0])), Math.max(...known.map((each) => each[1]))];
}

interface Found {
  id: number;
  series: Series | null;
}

function overlay(found: readonly Found[], smoothing: number): { panel: Panel; curves: Curve[] }[] {
  const charts = new Map<string, { panel: Panel; curves: Curve[] }>();
  found.forEach(({ id, series }, index) => {
    if (!series) return;
    const color = JOB_COLORS[index % JOB_COLORS.length] ?? "blue";
    for (const panel of choosePanels(series)) {
      if (!SHOWN.has(panel.id) && !panel.id.startsWith("loss/")) continue;
      for (const line of panel.lines) {
        const single = narrow(panel, { ...line, label: `#${id}`, color, evalColor: color });
        const curves = makeCurves(series, single, smoothing, false);
        const chart = charts.get(single.id) ?? { panel: single, curves: [] };
        chart.curves.push(...curves);
        charts.set(single.id, chart);
      }
    }
  });
  return [...charts.values()];
}

/** A chart of one line only, as each job has a colour of its own here. */
function narrow(panel: Panel, line: PanelLine): Panel {
  if (panel.lines.length === 1) return { ...panel, lines: [line] };
  const side = line.key.split("/").at(-1) ?? line.key;
  return { ...panel, id: line.key, title: `${panel.title}, ${side}`, lines: [line] };
}
