/** The charts of a run: is it learning, overfitting, forgetting both sides, diverging. */
import { useMemo } from "preact/hooks";
import { readNumber, useAddress } from "../address";
import type { JobDocument, Series, State } from "../api/shapes";
import { ChartCard } from "../charts/card";
import { makeCurves, MOST_SMOOTHING, USUAL_SMOOTHING } from "../charts/curves";
import { choosePanels } from "../charts/panels";
import { spanSeries, type View } from "../charts/zoom";
import { useZoom, useZoomKeys, ZoomTools } from "../charts/zoom_tools";
import { Bones } from "../parts/bones";
import { Button } from "../parts/button";
import { Empty } from "../parts/empty";
import { useKeys } from "../shell/keys";
import { formatCount } from "../text/numbers";
import { isClients } from "./spec";

export function useSmoothing(): [number, (value: number) => void] {
  const { query, change } = useAddress();
  const value = Math.max(0, Math.min(MOST_SMOOTHING, readNumber(query["smooth"]) ?? USUAL_SMOOTHING));
  const set = (next: number) => change({ smooth: next === USUAL_SMOOTHING ? null : Math.max(0, Math.min(MOST_SMOOTHING, next)) });
  return [value, set];
}

export function ChartsTab({ run, series, whole }: { run: JobDocument; series: Series | null; whole: View | null }) {
  const [smoothing, setSmoothing] = useSmoothing();
  const zooming = useZoom(whole, spanSeries(series));
  const ofClient = isClients(run.spec);
  const drawn = useMemo(() => (series ? choosePanels(series, ofClient).map((panel) => ({ panel, curves: makeCurves(series, panel, smoothing) })) : []), [series, smoothing, ofClient]);
  useKeys("Charts", [
    { keys: "[", text: "smooth less", act: () => setSmoothing(smoothing - 1) },
    { keys: "]", text: "smooth more", act: () => setSmoothing(smoothing + 1) },
  ]);
  useZoomKeys(zooming);
  if (!series) return <Bones count={9} shape="chart" box="charts" />;
  if (!drawn.length) return <NoCurves run={run} zoomed={zooming.zoomed} onReset={() => zooming.zoom(null, null)} />;
  return (
    <>
      <p class="zoom-row">
        <ZoomTools zooming={zooming} />
      </p>
      <div class="charts">
        {drawn.map(({ panel, curves }) => (
          <ChartCard key={panel.id} panel={panel} curves={curves} range={zooming.range} onZoom={zooming.zoom} />
        ))}
      </div>
    </>
  );
}

/** What stands beside the tabs: the way into a zoom and back, the smoothing, and how many steps a point stands for. */
export function ChartTools({ series, whole }: { series: Series | null; whole: View | null }) {
  const [smoothing, setSmoothing] = useSmoothing();
  return (
    <div class="chart-tools soft number">
      <ZoomTools zooming={useZoom(whole, spanSeries(series))} />
      <label>
        smoothing
        <input type="range" min="0" max={MOST_SMOOTHING} value={smoothing} onInput={(event) => setSmoothing(Number(event.currentTarget.value))} />
        <span class="smoothing">{smoothing}</span>
      </label>
      {series && series.bucket > 1 && <span>{formatCount(series.bucket)} steps a point</span>}
    </div>
  );
}

function NoCurves({ run, zoomed, onReset }: { run: JobDocument; zoomed: boolean; onReset: () => void }) {
  const text = zoomed ? "No step was reported in this range." : run.run_gone ? "The job's folder was removed by hand." : explainNone(run.job.state);
  return (
    <div class="card below">
      <Empty title="No curves">
        <p>{text}</p>
        {zoomed && (
          <p class="empty-action">
            <Button onClick={onReset}>All steps</Button>
          </p>
        )}
      </Empty>
    </div>
  );
}

function explainNone(state: State): string {
  if (state === "queued") return "The job waits for its turn; curves come with its first step.";
  if (state === "precomputing") return "The pairs are scored with the reference; curves come with the first step of training.";
  if (state === "training") return "The model is loaded, and its first step computed; curves come with it.";
  if (state === "live") return "A client trains it step by step; curves come with its first step.";
  if (state === "paused") return "It was paused before its first step; curves come with it once it is resumed.";
  return "It ended before its first step.";
}
